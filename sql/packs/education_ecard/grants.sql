-- The manual's matrix (2.1, 2.2) as native GRANTs to the group roles. What is not granted here is denied.
-- Rows are not limited here: which school, region or child a role sees is the work of scopes.
\set ON_ERROR_STOP on

GRANT USAGE ON SCHEMA app TO ecard_parent, ecard_teacher, ecard_clerk, ecard_region_admin, ecard_reviewer,
                             ecard_security, ecard_service;
GRANT SELECT ON app.region, app.school TO ecard_parent, ecard_teacher, ecard_clerk, ecard_region_admin,
                                          ecard_reviewer, ecard_security, ecard_service;

-- Parent: basic data and card of the child, contact data may be changed, nothing else.
GRANT SELECT (student_id, school_id, grade, class_no, name, gender, phone, status), UPDATE (phone)
    ON app.student TO ecard_parent;
GRANT SELECT ON app.guardian TO ecard_parent;
GRANT UPDATE (phone) ON app.guardian TO ecard_parent;
GRANT SELECT ON app.card, app.card_transaction TO ecard_parent;

-- Teacher: reads, enrols, changes what is no key data; never deletes.
GRANT SELECT, INSERT ON app.student, app.guardian TO ecard_teacher;
GRANT UPDATE (grade, class_no, phone, status, updated_at) ON app.student TO ecard_teacher;
GRANT SELECT, UPDATE (status, updated_at) ON app.card TO ecard_teacher;

-- Clerk: replacement orders and card status; of a student only what identifies the holder.
GRANT SELECT (student_id, school_id, grade, class_no, name, gender, status) ON app.student TO ecard_clerk;
GRANT SELECT, INSERT, UPDATE ON app.card_order TO ecard_clerk;
GRANT SELECT, INSERT (card_no, student_id, status, issued_on), UPDATE (status, updated_at) ON app.card TO ecard_clerk;

-- Regional administrator: edits, sensitive data and platform accounts of the schools.
GRANT SELECT, INSERT, UPDATE, DELETE ON app.student, app.guardian TO ecard_region_admin;
GRANT SELECT, UPDATE ON app.card, app.card_order TO ecard_region_admin;
GRANT SELECT ON app.card_transaction TO ecard_region_admin;
GRANT SELECT, INSERT, UPDATE ON app.users TO ecard_region_admin;
GRANT INSERT, UPDATE ON app.school TO ecard_region_admin;

-- Reviewer: reads in order to judge, changes nothing.
GRANT SELECT ON ALL TABLES IN SCHEMA app TO ecard_reviewer;

-- The platform itself: enrolments, purchases, replacements, nightly jobs. Nothing is ever deleted by it.
GRANT SELECT, INSERT, UPDATE ON app.student, app.guardian, app.card, app.card_order TO ecard_service;
GRANT SELECT, INSERT ON app.card_transaction TO ecard_service;
GRANT SELECT ON app.users TO ecard_service;
GRANT EXECUTE ON FUNCTION app.close_expired_orders(int) TO ecard_service;

-- Security officer: the structure of the schools only. Auditor and operations: nothing in app.
-- Operations look at the server, not at the data.
GRANT pg_monitor TO ecard_ops;
