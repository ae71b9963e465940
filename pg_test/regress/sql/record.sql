-- The register: what is recorded, what is missing, and what it says when something does not fit.
SELECT name, subject, confirm, valid_for, needed_subjects, suspends, enforced FROM steward.record_kind WHERE name IN ('exam', 'backup', 'contact') ORDER BY 1;
SELECT field, type, required, choices, label_zh FROM steward.form WHERE name = 'exam' ORDER BY line;
SELECT kind, subject, stage FROM steward.reminder WHERE kind IN ('contact', 'backup', 'off_site_backup', 'plan') ORDER BY 1, 2;
SELECT steward.add_record('exam', 'Nobody', '{"score": 91, "result": "passed"}');
SELECT steward.add_record('holiday', 'Sun');
SELECT steward.confirm_record(99);
SELECT steward.register_backup('full', 'b1', '/backup', false, 1, 'abc', '0/1', '0/2', now(), now());
SELECT what, name, ok, state FROM steward.backup_continuity() ORDER BY 1;
SELECT steward.open_incident('huge', 'no card can be read');
SELECT steward.open_incident('major', 'no card can be read', now() - interval '20 min') IS NOT NULL AS opened;
SELECT level, description, late, status FROM steward.incident WHERE description = 'no card can be read';
SELECT steward.set_record_kind('exam', true);
