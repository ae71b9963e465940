-- The life of an operation, and what each step out of turn is answered with.
\set ECHO errors
\connect - region_chen
\set ECHO all
SELECT steward.request('UPDATE app.student SET note = ''moved'' WHERE id <= 60', purpose => '') AS op_no;
SELECT steward.request('UPDATE app.student SET note = ''moved'' WHERE id <= 60',
    purpose => 'sixty pupils change class', expected_rows => 60) AS op_no \gset
SELECT op_no, tier, status, approvals_needed, approvals_given, script FROM steward.show(:'op_no');
SELECT digest FROM steward.show(:'op_no') \gset
SELECT * FROM steward.execute(:'op_no');
SELECT steward.approve(:'op_no', :'digest');
SELECT steward.show('OP-20000101-0001');

\connect - reviewer_sun
SELECT op_no, script FROM steward.inbox;
SELECT steward.approve(:'op_no', '0123456789abcdef');
SELECT steward.approve(:'op_no', left(:'digest', 11));
SELECT steward.approve(:'op_no', :'digest', 'list checked');
SELECT steward.approve(:'op_no', :'digest');
SELECT steward.confirm(:'op_no', :'digest');

\connect - region_chen
SELECT * FROM steward.execute(:'op_no');
SELECT steward.confirm(:'op_no', :'digest');

\connect - region_liu
SELECT steward.confirm(:'op_no', :'digest');
SELECT * FROM steward.execute(:'op_no');

\connect - region_chen
SELECT step, statement, rows FROM steward.execute(:'op_no');
SELECT * FROM steward.execute(:'op_no');
SELECT status FROM steward.show(:'op_no');
SELECT steward.review(:'op_no', 'accepted', 'my own work');

\connect - reviewer_sun
SELECT steward.review(:'op_no', 'perhaps', 'x');
SELECT steward.review(:'op_no', 'accepted', 'sixty rows, as asked');
SELECT status FROM steward.show(:'op_no');

\connect - clerk_zhao
SELECT steward.request('SELECT 1', purpose => 'x');

\connect - postgres
-- What a script must not contain.
SELECT steward.request('SELEC 1', purpose => 'x');
SELECT steward.request('', purpose => 'x');
SELECT steward.request('BEGIN; UPDATE app.student SET note = note; COMMIT', purpose => 'x');
SELECT steward.request('ALTER ROLE clerk_zhao PASSWORD ''secret''', purpose => 'x');
UPDATE app.student SET note = '' WHERE id <= 30;
