-- Two equal tables for statements by primary key, one of which the policy protects.
CREATE TABLE protected_row (id int PRIMARY KEY, value int NOT NULL) WITH (fillfactor = 50);
CREATE TABLE other_row (LIKE protected_row INCLUDING ALL) WITH (fillfactor = 50);
INSERT INTO protected_row SELECT n, 0 FROM generate_series(1, 1000) AS n;
INSERT INTO other_row SELECT n, 0 FROM generate_series(1, 1000) AS n;
GRANT SELECT, INSERT, UPDATE ON protected_row, other_row TO bench;
VACUUM ANALYZE protected_row, other_row;
