-- Student look-up by key:  pgbench -n -M prepared -U app_service -f pgbench_read.sql
\set student_id random(1, 20480)
SELECT name, grade, class_no, phone, status FROM app.student WHERE student_id = :student_id;
