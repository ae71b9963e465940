-- Included after a statement that must fail with the SQLSTATE :expected; ends the story if it did not.
\set failed :ERROR
\set sqlstate :LAST_ERROR_SQLSTATE
\set ECHO none
SELECT :'failed' = 'true' AND :'sqlstate' = ANY (string_to_array(:'expected', ' ')) AS as_told \gset
\ir as_told.sql
