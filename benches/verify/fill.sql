-- Continues the chain with :records further records: those that are there, again and again. Run while the library is not
-- loaded, as only a superuser who took it out of postgresql.conf could.
SELECT set_config('bench.records', :'records', false) \g /dev/null
DO $$
DECLARE
    ledger bytea := uuid_send((SELECT l.ledger FROM steward.ledger AS l));
    genuine bytea[] := (SELECT array_agg(record ORDER BY id) FROM steward.chain WHERE steward._record_text(record, 1) = 'statement');
    leaves bytea[] := (SELECT array_agg(sha256('\x00' || r) ORDER BY n) FROM unnest(genuine) WITH ORDINALITY AS t(r, n));
    head bigint;
    prev bytea;
    this bytea;
    which int;
BEGIN
    SELECT id, hash INTO head, prev FROM steward.chain ORDER BY id DESC LIMIT 1;
    FOR id IN head + 1 .. head + current_setting('bench.records')::bigint LOOP
        which := 1 + id % cardinality(genuine);
        this := sha256('\x02' || ledger || int8send(id) || prev || leaves[which]);
        INSERT INTO steward.chain_1 VALUES (id, genuine[which], prev, this);
        prev := this;
    END LOOP;
END $$;
-- A plain INSERT also fills what is free on earlier pages. The sequencer writes behind the last record only.
CREATE INDEX by_id ON steward.chain_1 (id);
CLUSTER steward.chain_1 USING by_id;
DROP INDEX steward.by_id;
