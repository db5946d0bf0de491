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

-- Nobody rewrites what was known: the one change that a row ever sees is that it stops being held true.
CREATE FUNCTION relaycore_keep_prices() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF upper_inf(OLD.known) AND NOT upper_inf(NEW.known) AND lower(NEW.known) = lower(OLD.known)
           AND (NEW.id, NEW.provider, NEW.model, NEW.token_class, NEW.from_input_tokens, NEW.origin, NEW.usd_per_unit,
                NEW.source, NEW.note, NEW.valid)
               IS NOT DISTINCT FROM
               (OLD.id, OLD.provider, OLD.model, OLD.token_class, OLD.from_input_tokens, OLD.origin, OLD.usd_per_unit,
                OLD.source, OLD.note, OLD.valid) THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'price_versions is a history: a row is never changed but for the end of "known"'
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER keep_prices BEFORE UPDATE OR DELETE ON price_versions
    FOR EACH ROW EXECUTE FUNCTION relaycore_keep_prices();
CREATE TRIGGER keep_all_prices BEFORE TRUNCATE ON price_versions
    FOR EACH STATEMENT EXECUTE FUNCTION relaycore_keep_prices();

CREATE TRIGGER bump_prices AFTER INSERT OR UPDATE OR DELETE ON price_versions
    FOR EACH STATEMENT EXECUTE FUNCTION relaycore_bump_snapshot('prices');
