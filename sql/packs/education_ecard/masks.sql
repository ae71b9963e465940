-- What each post sees of the columns with a class (manual 1.1 and 2.1). Loaded after policy.sql, by choice. The regional
-- administrator sees sensitive data, the platform itself must; the auditor, operations and the security officer have no
-- right on any of these columns, and a mask for the day that somebody grants one.
\set ON_ERROR_STOP on

-- A parent recognises the own number, as at a bank, and can replace it without seeing it whole.
SELECT steward.set_mask('ecard_parent', 'guardian_contact');
-- A teacher calls families, and needs no identity numbers.
SELECT steward.set_mask('ecard_teacher', 'id_card');
SELECT steward.set_mask('ecard_teacher', 'address');
SELECT steward.set_mask('ecard_teacher', 'birth_date', 'generalize');
-- A clerk knows who stands at the desk, and compares a number that is told with the ends of the kept one.
SELECT steward.set_mask('ecard_clerk', 'phone', predicate => 'equal');
SELECT steward.set_mask('ecard_clerk', 'id_card', predicate => 'deny');
SELECT steward.set_mask('ecard_clerk', 'address', 'hide');
SELECT steward.set_mask('ecard_clerk', 'guardian_contact', 'hide');
SELECT steward.set_mask('ecard_clerk', 'birth_date', 'hide');
-- A reviewer reads in order to judge.
SELECT steward.set_mask('ecard_reviewer', 'name');
SELECT steward.set_mask('ecard_reviewer', 'id_card');
SELECT steward.set_mask('ecard_reviewer', 'phone');
SELECT steward.set_mask('ecard_reviewer', 'address', 'generalize');
SELECT steward.set_mask('ecard_reviewer', 'guardian_contact');
SELECT steward.set_mask('ecard_reviewer', 'birth_date', 'generalize');

SELECT steward.set_mask('ecard_auditor', '*', 'hide');
SELECT steward.set_mask('ecard_ops', '*', 'hide');
SELECT steward.set_mask('ecard_security', '*', 'hide');
