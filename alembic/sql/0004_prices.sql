-- Prices: what was one table of the present becomes the history of what was valid, and of what was known.

INSERT INTO price_versions (provider, model, token_class, from_input_tokens, origin, usd_per_unit, source, valid, known)
SELECT provider, model, token_class, from_input_tokens,
       CASE WHEN split_part(source, ' ', 1) IN ('genai-prices', 'mock') THEN 'catalogue' ELSE 'admin' END,
       usd_per_unit, source, tstzrange(NULL, NULL), tstzrange(updated_at, NULL)
FROM prices;

DROP TABLE prices;

-- What is valid and known now. Where people priced a class of a model, the catalogue's rows of it do not count.
CREATE VIEW prices AS
SELECT provider, model, token_class, from_input_tokens, usd_per_unit, source, lower(known) AS updated_at
FROM price_versions AS one
WHERE upper_inf(known) AND valid @> now()
  AND (origin = 'admin' OR NOT EXISTS (
    SELECT FROM price_versions AS own
    WHERE own.origin = 'admin' AND own.provider = one.provider AND own.model = one.model
      AND own.token_class = one.token_class AND upper_inf(own.known) AND own.valid @> now()));

CREATE TRIGGER bump_prices AFTER INSERT OR UPDATE OR DELETE ON price_versions
    FOR EACH STATEMENT EXECUTE FUNCTION relaycore_bump_snapshot('prices');
