-- Ends the story unless the variable as_told says that the last answer was the expected one.
\if :as_told
\else
    DO $$ BEGIN RAISE EXCEPTION 'not as told'; END $$;
\endif
\set ECHO queries
