//! COPY in every direction: to and from the client, files and programs, tables, partitions, views and queries.

use super::attack::{Allowed, BULK_UPDATE, ROLES, Refused, Said, attack, attack_as, watch};
use crate::school::School;
use std::io::{Read, Write};

tests! {
    copy_a_table_to_the_client,
    copy_a_query_to_the_client,
    copy_a_query_that_writes_to_the_client,
    copy_a_partition_to_the_client,
    copy_to_a_file_or_program,
    copy_from_a_file_or_program,
    copy_sixty_rows_from_the_client,
    copy_sixty_rows_through_a_view,
    copy_into_own_tables,
    copy_a_table_through_a_view_to_the_client,
}

const EXPORT: [&str; 2] = ["important", "export"];

fn school_with(set_up: &str) -> School {
    let school = School::inactive();
    school.superuser().batch_execute(set_up).expect("set-up");
    school.superuser().batch_execute("SELECT steward.activate()").expect("activate");
    school
}

/// COPY … TO STDOUT, all of it read.
fn out(school: &School, who: &str, copy: &str) -> Result<(), postgres::Error> {
    let mut session = school.session(who);
    let mut reader = session.copy_out(copy)?;
    // An error in the middle ends the stream; the statement after it says which.
    let mut bytes = Vec::new();
    match reader.read_to_end(&mut bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(*error.into_inner().expect("of the server").downcast().expect("of the server")),
    }
}

/// COPY … FROM STDIN with these lines.
fn into(school: &School, who: &str, copy: &str, lines: &str) -> Result<(), postgres::Error> {
    let mut session = school.session(who);
    let mut writer = session.copy_in(copy)?;
    writer.write_all(lines.as_bytes()).expect("lines");
    writer.finish().map(drop)
}

fn export(school: &School, copy: &str, relation: &'static str, operation: &'static str) {
    let [tier, rule] = EXPORT;
    for who in ROLES {
        watch(school, who, Allowed, [operation, relation, tier, rule], || out(school, who, copy));
    }
}

fn copy_a_table_to_the_client() {
    let school = School::active();
    export(&school, "COPY app.student TO STDOUT", "app.student", "COPY");
    export(&school, "COPY app.student (phone) TO STDOUT (FORMAT binary)", "app.student", "COPY");
}

fn copy_a_query_to_the_client() {
    let school = School::active();
    export(&school, "COPY (SELECT phone FROM app.student) TO STDOUT", "app.student", "COPY");
}

fn copy_a_query_that_writes_to_the_client() {
    let school = School::active();
    for who in ROLES {
        let copy = "COPY (UPDATE app.student SET note = 'x' WHERE id <= 60 RETURNING id) TO STDOUT";
        watch(&school, who, Refused, BULK_UPDATE, || out(&school, who, copy));
    }
}

fn copy_a_partition_to_the_client() {
    let school = School::active();
    export(&school, "COPY app.card_transaction_2026_10 TO STDOUT", "app.card_transaction", "COPY");
}

fn copy_a_table_through_a_view_to_the_client() {
    let school = school_with(
        "CREATE VIEW app.pupil AS SELECT id, phone FROM app.student; GRANT SELECT ON app.pupil TO teacher_wang",
    );
    export(&school, "COPY (SELECT * FROM app.pupil) TO STDOUT", "app.student", "COPY");
}

const CONFIG: Said = ["COPY", "", "critical", "config"];

fn copy_to_a_file_or_program() {
    let school = school_with("GRANT pg_write_server_files, pg_execute_server_program TO teacher_wang");
    let file = school.file("data/stolen");
    for target in [format!("'{}'", file.display()), format!("PROGRAM 'cat > {}'", file.display())] {
        attack(&school, &format!("COPY app.scratch TO {target}"), Refused, CONFIG);
        attack(&school, &format!("COPY (SELECT 1) TO {target}"), Refused, CONFIG);
        attack(
            &school,
            &format!("COPY app.student TO {target}"),
            Refused,
            ["COPY", "app.student", "critical", "config"],
        );
    }
    assert!(!file.exists());
}

fn copy_from_a_file_or_program() {
    let school = school_with(
        "GRANT pg_read_server_files, pg_execute_server_program TO teacher_wang; GRANT ALL ON app.scratch TO teacher_wang",
    );
    for source in ["'/etc/hostname'", "PROGRAM 'id'"] {
        attack(&school, &format!("COPY app.scratch (note) FROM {source}"), Refused, CONFIG);
        let catalog = format!("COPY pg_authid FROM {source}");
        attack_as(&school, "postgres", &catalog, Refused, CONFIG);
    }
    assert_eq!(school.ask::<i64>("SELECT count(*) FROM app.scratch"), 0);
}

fn guardians(from: i32, count: i32) -> String {
    (from..from + count).map(|id| format!("{id}\t1\tcopied\n")).collect()
}

fn copy_sixty_rows_from_the_client() {
    let school = School::active();
    for who in ROLES {
        for copy in ["COPY app.guardian FROM STDIN", "COPY app.guardian FROM STDIN WHERE id > 0"] {
            let said = ["COPY FROM", "app.guardian", "critical", "bulk_write"];
            watch(&school, who, Refused, said, || into(&school, who, copy, &guardians(1000, 60)));
        }
        let leaf = "COPY app.card_transaction_2026_10 FROM STDIN";
        let lines: String = (1000..1060).map(|id| format!("{id}\t2026-10-05\t1\n")).collect();
        let said = ["COPY FROM", "app.card_transaction", "critical", "bulk_write"];
        watch(&school, who, Refused, said, || into(&school, who, leaf, &lines));
    }
    let few = ["COPY", "app.guardian", "normal", "write"];
    for (who, from) in ROLES.into_iter().zip([1000, 2000]) {
        watch(&school, who, Allowed, few, || into(&school, who, "COPY app.guardian FROM STDIN", &guardians(from, 3)));
    }
}

fn copy_sixty_rows_through_a_view() {
    let school = school_with(
        "CREATE VIEW app.door AS SELECT id, student_id, name FROM app.guardian;
         CREATE FUNCTION app.through() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN INSERT INTO app.guardian VALUES (NEW.id, NEW.student_id, NEW.name); RETURN NEW; END';
         CREATE TRIGGER through INSTEAD OF INSERT ON app.door FOR EACH ROW EXECUTE FUNCTION app.through();
         GRANT ALL ON app.door TO teacher_wang",
    );
    for who in ROLES {
        let said = ["INSERT", "app.guardian", "critical", "bulk_write"];
        watch(&school, who, Refused, said, || into(&school, who, "COPY app.door FROM STDIN", &guardians(1000, 60)));
    }
}

fn copy_into_own_tables() {
    let school = School::active();
    for table in ["steward.rule", "steward.chain", "steward.journal_0", "steward.person"] {
        for who in ROLES {
            let said = ["COPY", "", "critical", "audit"].map(|word| if word.is_empty() { table } else { word });
            watch(&school, who, Refused, said, || into(&school, who, &format!("COPY {table} FROM STDIN"), ""));
        }
    }
    let settings = "COPY pg_db_role_setting FROM STDIN";
    watch(&school, "postgres", Refused, CONFIG, || into(&school, "postgres", settings, ""));
}
