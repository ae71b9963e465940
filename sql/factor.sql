-- The second factor. Both tables are read and written by the functions below and the sequencer only: nobody else reads
-- them, a superuser included, and they are not dumped. They name no foreign keys, whose look-ups would be refused too.
CREATE TABLE steward._second_factor (
    person      text PRIMARY KEY,
    sealed      bytea NOT NULL,
    enrolled_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE steward._second_factor IS 'The authenticators of persons: their secrets, sealed with the key of steward.key_file and bound to the person. Read by nobody, not dumped.';

CREATE TABLE steward._second_factor_state (
    person    text PRIMARY KEY,
    last_step bigint NOT NULL DEFAULT 0,
    failures  bigint[] NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE steward._second_factor_state IS 'The newest used step of each person and when the last wrong codes came (microseconds since 2000-01-01 UTC), written by the sequencer for the next server start. Read by nobody, not dumped.';

-- What ANALYZE would sample, pg_stats would show.
ALTER TABLE steward._second_factor ALTER sealed SET STATISTICS 0, ALTER enrolled_at SET STATISTICS 0;
ALTER TABLE steward._second_factor_state ALTER last_step SET STATISTICS 0, ALTER failures SET STATISTICS 0;
REVOKE ALL ON steward._second_factor, steward._second_factor_state FROM PUBLIC;

CREATE FUNCTION steward.enroll_totp() RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'enroll_totp_wrapper';
COMMENT ON FUNCTION steward.enroll_totp() IS 'Enrols an authenticator for the person behind this login and returns, once, the otpauth:// URI that it scans (RFC 6238: SHA-1, six digits, 30 seconds). Before activate() as often as one likes, afterwards only by a person who has none. Errors: 55000 enrolled already, no usable steward.key_file, outside the home database or on a standby; 42501 no person behind the login, the post service, or called inside a function. May be called by every registered person, for themselves.';

CREATE FUNCTION steward.verify_totp(code text) RETURNS void LANGUAGE c AS 'MODULE_PATHNAME', 'verify_totp_wrapper';
COMMENT ON FUNCTION steward.verify_totp(text) IS 'Steps this session up with a code of the caller''s authenticator: for 15 minutes in critical work, 30 in important, until DISCARD ALL, reset_totp, or while another role is put on. A code serves once, whatever becomes of the transaction; after 5 wrong ones in 15 minutes or 20 in a day a single one is not enough any more (error 55000), and two that follow each other, typed in one session at least 5 seconds and at most 2 minutes apart, are; of the first nobody is told whether it was right. Errors: 42501 wrong or used code, no person behind the login, the post service; 55000 one code is not enough after too many wrong ones, nothing enrolled, no usable steward.key_file, too early after a server start, outside the home database or on a standby; 22023 no six digits. May be called by every registered person.';

CREATE FUNCTION steward.reset_totp(person text) RETURNS void LANGUAGE c AS 'MODULE_PATHNAME', 'reset_totp_wrapper';
COMMENT ON FUNCTION steward.reset_totp(text) IS 'Takes a person''s authenticator away, so that they can enrol a new one; what was stepped up by the old one ends at once, and wrong codes that were tried before the new one is enrolled do not count for it. 42704 if there is none. Callers as steward.protect.';

REVOKE ALL ON FUNCTION steward.enroll_totp(), steward.verify_totp(text), steward.reset_totp(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward.enroll_totp(), steward.verify_totp(text) TO PUBLIC;
