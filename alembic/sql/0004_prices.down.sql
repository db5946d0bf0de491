CREATE TABLE prices_before (
    provider text NOT NULL,
    model text NOT NULL,
    token_class text NOT NULL,
    from_input_tokens bigint NOT NULL DEFAULT 0,
    usd_per_unit numeric(24, 15) NOT NULL CONSTRAINT ck_prices_not_negative CHECK (usd_per_unit >= 0),
    source text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_prices PRIMARY KEY (provider, model, token_class, from_input_tokens)
);
INSERT INTO prices_before SELECT * FROM prices;
DROP VIEW prices;
ALTER TABLE prices_before RENAME TO prices;
CREATE TRIGGER bump_prices AFTER INSERT OR UPDATE OR DELETE ON prices
    FOR EACH STATEMENT EXECUTE FUNCTION relaycore_bump_snapshot('prices');
DROP TRIGGER bump_prices ON price_versions;
DROP TRIGGER keep_all_prices ON price_versions;
DROP TRIGGER keep_prices ON price_versions;
DROP FUNCTION relaycore_keep_prices();
