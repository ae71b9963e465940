-- Emergency windows.
CREATE TABLE steward.break_glass_limit (
    single       boolean PRIMARY KEY DEFAULT true CHECK (single),
    max_duration interval NOT NULL CHECK (max_duration BETWEEN interval '1 second' AND interval '8 hours')
);
COMMENT ON TABLE steward.break_glass_limit IS 'The longest term of an emergency window. One row; written by steward.set_break_glass_limit only.';
INSERT INTO steward.break_glass_limit (max_duration) VALUES ('1 hour');
CREATE TRIGGER make_way BEFORE INSERT ON steward.break_glass_limit FOR EACH ROW EXECUTE FUNCTION steward._make_way('single');
REVOKE ALL ON steward.break_glass_limit FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('steward.break_glass_limit', '');

CREATE INDEX _operation_break_glass ON steward._operation (applicant, review_due) WHERE origin = 'break_glass' AND status = 'executed';

CREATE FUNCTION steward.set_break_glass_limit(max_duration interval) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_break_glass_limit_wrapper';
COMMENT ON FUNCTION steward.set_break_glass_limit(interval) IS 'Sets the longest term of an emergency window, one second to eight hours; installed: one hour. 22023 without a term, 23514 for others. Callers as steward.protect; once the policy is active with as many approvals as the rules for PRIVILEGE demand.';

CREATE FUNCTION steward.break_glass(reason text, duration interval DEFAULT '15 min') RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'break_glass_wrapper';
COMMENT ON FUNCTION steward.break_glass(text, interval) IS 'Opens an emergency window for this session and returns the number of its operation: until its term ends, statements that need an approved operation run without one. Posts that change nothing alone ask with the first call; once a second person has confirmed the operation with steward.confirm, within 10 minutes, the same call in the same session opens the window. Everything in it is critical, on record before it runs and kept for steward.restore; listeners of the channel steward_alert and the server log are told at once; somebody else must review it. Never in a window: schema steward, the policy, what rules demand more approvals for than the tier, files, programs, libraries, the catalog by hand, extensions, settings of steward and of what records depend on. It ends with its term, steward.end_break_glass(), DISCARD ALL, the session, and when another role is put on. A statement of its own, outside of a transaction block; no rollback undoes it. reason: 10 to 1000 characters. duration: up to steward.break_glass_limit. Errors: 42501 without the capability break_glass, the post service, inside a function or a transaction block, a window is open in this session; 55000 no code verified within 5 minutes, not confirmed, a window in another session, a former window unreviewed past its term, no alert could be raised, the policy refuses nothing now; 22023 reason or duration. May be called by persons whose post gives the capability break_glass.';

CREATE FUNCTION steward.end_break_glass() RETURNS void LANGUAGE c AS 'MODULE_PATHNAME', 'end_break_glass_wrapper';
COMMENT ON FUNCTION steward.end_break_glass() IS 'Ends the emergency window of this session, whatever becomes of the transaction. 55000 if there is none. Everybody may call it, for themselves.';

REVOKE ALL ON FUNCTION steward.set_break_glass_limit(interval), steward.break_glass(text, interval), steward.end_break_glass() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward.break_glass(text, interval), steward.end_break_glass() TO PUBLIC;
