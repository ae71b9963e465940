-- Logins: where they may come from, when failures are too many, and which sessions were idle too long.
CREATE TABLE steward.login_limit (
    single   boolean PRIMARY KEY DEFAULT true CHECK (single),
    failures int CHECK (failures BETWEEN 1 AND 1000),
    within   interval NOT NULL CHECK (within > interval '0'),
    lock_for interval CHECK (lock_for > interval '0')
);
COMMENT ON TABLE steward.login_limit IS 'How many failed logins in a row, and how many denied statements of a session, are too many. One row; written by steward.set_login_limit only.';
COMMENT ON COLUMN steward.login_limit.failures IS 'From this number on, and at each multiple of it, an alert record is written. NULL: nothing is counted.';
COMMENT ON COLUMN steward.login_limit.within IS 'From the first failure of the row to the last.';
COMMENT ON COLUMN steward.login_limit.lock_for IS 'How long the login is refused then. NULL: it is told and not refused. Never the last administrator, never the post service.';
INSERT INTO steward.login_limit (failures, within, lock_for) VALUES (5, '15 minutes', NULL);

CREATE TABLE steward.login_policy (
    role        regrole PRIMARY KEY,
    addresses   cidr[],
    tls         boolean NOT NULL DEFAULT false,
    replication boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE steward.login_policy IS 'What a role demands of logins that are it or a member of it; all that apply must be met. And who may replicate. Written by steward.set_login_policy only.';
COMMENT ON COLUMN steward.login_policy.addresses IS 'Networks that logins may come from; a unix socket counts as 127.0.0.1. NULL: any that pg_hba.conf admits.';
COMMENT ON COLUMN steward.login_policy.tls IS 'Connections over the network must be encrypted.';
COMMENT ON COLUMN steward.login_policy.replication IS 'They may send commands of the replication protocol that copy data: base backups, streaming, slots. One such row is enough; whoever has none may not, superusers included. PostgreSQL asks for the attribute REPLICATION besides.';

CREATE TABLE steward.blocked_address (
    address    cidr PRIMARY KEY,
    until      timestamptz,
    reason     text NOT NULL,
    blocked_at timestamptz NOT NULL DEFAULT now(),
    blocked_by text NOT NULL
);
COMMENT ON TABLE steward.blocked_address IS 'Networks that nobody may log in from. Written by steward.block_address and steward.unblock_address only.';
COMMENT ON COLUMN steward.blocked_address.until IS 'NULL: until steward.unblock_address.';

CREATE TRIGGER make_way BEFORE INSERT ON steward.login_limit FOR EACH ROW EXECUTE FUNCTION steward._make_way('single');

REVOKE ALL ON steward.login_limit, steward.login_policy, steward.blocked_address FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('steward.login_limit', '');
SELECT pg_catalog.pg_extension_config_dump('steward.login_policy', '');
SELECT pg_catalog.pg_extension_config_dump('steward.blocked_address', '');

CREATE FUNCTION steward.set_login_limit(failures int DEFAULT NULL, within interval DEFAULT NULL, lock_for interval DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_login_limit_wrapper';
COMMENT ON FUNCTION steward.set_login_limit(int, interval, interval) IS
    'How many failed logins in a row, within what time, are told in a record LOGIN FAILURES, and for how long the login is then refused; the same for denied statements (PERMISSION FAILURES), of which those inside functions, triggers and blocks are told and lock nobody. NULL = keep; failures => 0 counts nothing, lock_for => ''0'' locks nobody. 22023 for bad values. Callers as steward.protect.';

CREATE FUNCTION steward.set_login_policy(role regrole, addresses cidr[] DEFAULT NULL, tls boolean DEFAULT NULL,
    replication boolean DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_login_policy_wrapper';
COMMENT ON FUNCTION steward.set_login_policy(regrole, cidr[], boolean, boolean) IS
    'Which networks a role and its members may log in from, whether over TLS only, and whether they may replicate; NULL = keep, addresses => ''{}'' admits every network again. Holds for new logins, and for the next command of replication, within a second, once the policy is active; before, and where the sequencer has written nothing yet, pg_hba.conf alone decides. A refused login gets 28000, a refused command 42501; a stream that runs is not ended. Callers as steward.protect.';

CREATE FUNCTION steward.block_address(address cidr, until timestamptz, reason text) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'block_address_wrapper';
COMMENT ON FUNCTION steward.block_address(cidr, timestamptz, text) IS
    'Nobody may log in from this network until then; NULL = until steward.unblock_address. Unix sockets stay open, and so do open sessions. 22023 without a reason or for a time that has passed. Callers as steward.protect.';

CREATE FUNCTION steward.unblock_address(address cidr) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'unblock_address_wrapper';
COMMENT ON FUNCTION steward.unblock_address(cidr) IS 'Takes a network off the list of steward.block_address. 42704 if it is not on it. Callers as steward.protect.';

CREATE FUNCTION steward.unlock_login(role regrole) RETURNS boolean
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'unlock_login_wrapper';
COMMENT ON FUNCTION steward.unlock_login(regrole) IS 'Ends the lock of a login before its time and forgets its failures, at once and whatever becomes of the transaction. True if it was locked. Callers as steward.protect.';

CREATE FUNCTION steward._login_state(role regrole, OUT failures bigint, OUT denials bigint, OUT locked_until timestamptz) RETURNS SETOF record
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', '_login_state_wrapper';
COMMENT ON FUNCTION steward._login_state(regrole) IS 'For the view steward.login_failures.';

CREATE VIEW steward.login_failures WITH (security_invoker = true) AS
    SELECT r.oid::regrole AS role, s.failures, s.denials, s.locked_until
    FROM pg_catalog.pg_roles r, LATERAL steward._login_state(r.oid::regrole) s
    WHERE r.rolcanlogin AND (s.failures > 0 OR s.denials > 0 OR s.locked_until IS NOT NULL);
COMMENT ON VIEW steward.login_failures IS 'Logins that failed, or were denied statements, since their last success, and those that are locked. For auditors and those who configure.';

REVOKE ALL ON steward.login_failures FROM PUBLIC;
REVOKE ALL ON FUNCTION steward.set_login_limit(int, interval, interval), steward.set_login_policy(regrole, cidr[], boolean, boolean),
    steward.block_address(cidr, timestamptz, text), steward.unblock_address(cidr), steward.unlock_login(regrole),
    steward._login_state(regrole) FROM PUBLIC;
