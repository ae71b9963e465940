-- The naive hash chain: each row trigger locks the head row and links to it, so whoever writes waits for the commit of the
-- writer before.
CREATE TABLE chain_head (id bigint NOT NULL, hash bytea NOT NULL) WITH (fillfactor = 10);
INSERT INTO chain_head VALUES (0, sha256(''));
CREATE TABLE chain_row (id bigint PRIMARY KEY, record jsonb NOT NULL, prev_hash bytea NOT NULL, hash bytea NOT NULL);
CREATE FUNCTION chain_row() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    head chain_head;
    entry jsonb := jsonb_build_object('changed_at', clock_timestamp(), 'changed_by', session_user, 'relation', TG_TABLE_NAME,
        'command', TG_OP, 'old_row', CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END,
        'new_row', CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END);
    link bytea;
BEGIN
    SELECT * INTO head FROM chain_head FOR UPDATE;
    link := sha256(head.hash || convert_to(entry::text, 'UTF8'));
    INSERT INTO chain_row VALUES (head.id + 1, entry, head.hash, link);
    UPDATE chain_head SET id = head.id + 1, hash = link;
    RETURN NULL;
END $$;
CREATE TRIGGER chain_row AFTER INSERT OR UPDATE OR DELETE ON pgbench_accounts FOR EACH ROW EXECUTE FUNCTION chain_row();
CREATE TRIGGER chain_row AFTER INSERT OR UPDATE OR DELETE ON pgbench_branches FOR EACH ROW EXECUTE FUNCTION chain_row();
CREATE TRIGGER chain_row AFTER INSERT OR UPDATE OR DELETE ON pgbench_tellers FOR EACH ROW EXECUTE FUNCTION chain_row();
CREATE TRIGGER chain_row AFTER INSERT OR UPDATE OR DELETE ON pgbench_history FOR EACH ROW EXECUTE FUNCTION chain_row();
