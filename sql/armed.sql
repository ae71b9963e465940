-- Armed sessions: what cannot run inside a function is sent by the client, statement by statement.

CREATE FUNCTION steward.arm(op_no text) RETURNS int
    LANGUAGE c AS 'MODULE_PATHNAME', 'arm_wrapper';
COMMENT ON FUNCTION steward.arm IS 'Arms this session for an approved operation whose statements cannot run inside steward.execute or return rows; everything is checked as steward.execute checks it, and the run is used up. From then on the client sends the statements of the script, byte for byte but for white space and semicolons around them, one in each message and each a transaction of its own; each is checked anew, covered once, and runs as the current role, which must be run_as. Returns their number. The last one ends it and makes the operation executed. Anything else, an error, a rollback, the end of the session or steward.disarm() ends it too: what was executed stays, the rest is not executed, and the run is given back only if no statement had begun. SHOW changes nothing; transaction control, SET, RESET and DISCARD are executed, and end it. Settings on which the meaning of a script depends are set for the session, search_path to pg_catalog for one, and set back after the last statement; after any other end RESET ALL does that. The rows of all statements together, those returned included, may not be more than expected_rows; one too many may have been sent when that is noticed, and all of a COPY table TO STDOUT. The data of COPY FROM STDIN must have its digest. Errors: as steward.execute; 55000 in a transaction block, in an armed session, or under another role; 42501 for the post service. May be called by the person who filed the operation.';

CREATE FUNCTION steward.disarm() RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'disarm_wrapper';
COMMENT ON FUNCTION steward.disarm IS 'Ends an armed session before all its statements were sent: the operation is failed if runs are left, and executed, waiting for its review, if not. It must be all that the client sends: SELECT steward.disarm(). Errors: 55000 in a session that is not armed. Everybody may call it, for their own session.';

REVOKE ALL ON FUNCTION steward.arm, steward.disarm FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward.arm, steward.disarm TO PUBLIC;
