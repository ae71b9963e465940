-- Included with the variable login: that person enrols, unseen.
\set ECHO none
\set QUIET on
\connect - :login
SELECT steward.enroll_totp() AS uri \gset
\set scanned `./phone :login enrol :'uri'`
\unset uri
\set QUIET off
\set ECHO queries
