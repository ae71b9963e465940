//! What is given the values of a table without standing in a definition on it: types of its columns, and functions that
//! others have put where rows pass (case 27). Whoever does not see the table clear changes none of it, though they own it.

use super::protocol::Must::{Mask, Refuse};
use super::protocol::{hold, wire};
use super::{desk_with, tells};
use crate::school::School;
use crate::wire::Wire;

tests! {
    what_the_owner_of_a_column_s_type_defines,
    a_table_that_joins_a_masked_one_brings_nothing_along,
    what_is_called_with_rows_is_not_its_owner_s_to_replace,
}

const DEFINED: &str = "what is defined on a table is given its values";

/// Each is refused, on record; then the values are shown masked as before.
fn refused_each(school: &School, login: &str, commands: &[String]) {
    let mut session = wire(school, login);
    for command in commands {
        let reply = session.simple(command);
        Refuse(DEFINED).judge("simple", command, &reply);
    }
    // Inside a block, where nobody reads it beforehand.
    let block = format!("DO $do$ BEGIN EXECUTE $x${}$x$; END $do$", commands[0]);
    Refuse(DEFINED).judge("block", &commands[0], &session.simple(&block));
    let denied = format!("user_id = '{login}' AND result = 'DENIED' AND rule = 'mask'");
    assert!(school.records(&denied) > commands.len() as i64);
}

fn allowed_each(session: &mut Wire, commands: &[&str]) {
    for command in commands {
        let reply = session.simple(command);
        assert!(reply.code.is_none() && !tells(&reply.text()), "{command}: {reply:?}");
    }
}

fn what_the_owner_of_a_column_s_type_defines() {
    let school = desk_with(
        "CREATE FUNCTION desk.leak(anyelement) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''%'', $1; RETURN ''x''; END';
         SET ROLE app_owner;
         CREATE DOMAIN desk.number AS text; CREATE DOMAIN desk.base AS text; CREATE DOMAIN desk.over AS desk.base;
         CREATE DOMAIN desk.listed AS text; CREATE DOMAIN desk.part AS text; CREATE TYPE desk.contact AS (kind int, phone desk.part);
         CREATE DOMAIN desk.day AS date; CREATE TYPE desk.days AS RANGE (subtype = desk.day);
         CREATE DOMAIN desk.cell AS text; CREATE TABLE desk.entry (phone desk.cell); CREATE TYPE desk.mood AS ENUM ('13800000007');
         CREATE DOMAIN desk.harmless AS text; CREATE DOMAIN desk.unused AS text;
         CREATE TABLE desk.person (id int, phone desk.number, other desk.over, phones desk.listed[], at desk.contact, away desk.days,
            entry desk.entry, mood desk.mood, remark desk.harmless);
         INSERT INTO desk.person VALUES (7, '13800000007', '13800000007', '{13800000007}', '(1,13800000007)', NULL, '(13800000007)', '13800000007', 'x');
         GRANT SELECT ON desk.person TO cs; RESET ROLE;
         DO $do$ DECLARE c text; BEGIN FOREACH c IN ARRAY '{phone,other,phones,at,away,entry,mood}'::text[] LOOP
            EXECUTE format('SECURITY LABEL FOR pg_steward ON COLUMN desk.person.%I IS ''phone''', c); END LOOP; END $do$;
         SELECT steward.set_mask('app_owner', '*')",
    );
    let mut commands: Vec<String> = ["number", "base", "over", "listed", "part", "day", "cell"]
        .iter()
        .flat_map(|domain| {
            ["", " NOT VALID"].map(|how| format!("ALTER DOMAIN desk.{domain} ADD CHECK (desk.leak(VALUE) <> ''){how}"))
        })
        .collect();
    commands.extend(
        [
            "ALTER DOMAIN desk.number ADD CONSTRAINT told CHECK (desk.leak(VALUE) <> '')",
            "ALTER DOMAIN desk.number SET DEFAULT desk.leak('x'::text)",
            "CREATE FUNCTION desk.told(desk.mood) RETURNS text LANGUAGE sql AS 'SELECT desk.leak($1)'; CREATE CAST (desk.mood AS text) WITH FUNCTION desk.told(desk.mood)",
            "CREATE FUNCTION desk.told(desk.mood, desk.mood) RETURNS bool LANGUAGE sql AS 'SELECT desk.leak($1) = ''x'''; CREATE OPERATOR desk.= (LEFTARG = desk.mood, RIGHTARG = desk.mood, FUNCTION = desk.told)",
            "CREATE FUNCTION desk.told(desk.person) RETURNS text LANGUAGE sql AS 'SELECT desk.leak($1)'; CREATE CAST (desk.person AS text) WITH FUNCTION desk.told(desk.person)",
        ]
        .map(str::to_owned),
    );
    refused_each(&school, "app_owner", &commands);
    // No value passes there, or none that is masked.
    let mut owner = wire(&school, "app_owner");
    allowed_each(
        &mut owner,
        &[
            "ALTER DOMAIN desk.harmless ADD CONSTRAINT short CHECK (length(VALUE) < 100)",
            "ALTER DOMAIN desk.unused ADD CHECK (desk.leak(VALUE) <> '')",
            "ALTER DOMAIN desk.number SET DEFAULT ''",
            "ALTER DOMAIN desk.number DROP DEFAULT",
            "ALTER TYPE desk.mood ADD VALUE 'another'",
        ],
    );
    hold(&mut wire(&school, "cs"), &[("SELECT phone FROM desk.person WHERE id = $1", &["7"], Mask)]);
    // A constraint of somebody else is not theirs to try on the values again; who sees them clear defines.
    let mut superuser = school.superuser();
    superuser
        .batch_execute("ALTER DOMAIN desk.number ADD CONSTRAINT long CHECK (length(VALUE) > 3) NOT VALID")
        .expect("somebody who sees the values");
    refused_each(&school, "app_owner", &["ALTER DOMAIN desk.number VALIDATE CONSTRAINT long".to_owned()]);
    superuser.batch_execute("SELECT steward.drop_mask('app_owner', '*')").expect("clear");
    allowed_each(&mut owner, &["ALTER DOMAIN desk.number VALIDATE CONSTRAINT long"]);
}

/// What is written into a partitioned table by others passes what is defined on its partitions.
fn a_table_that_joins_a_masked_one_brings_nothing_along() {
    let tables = ["trigger", "check", "index", "some", "policy", "statistics", "generated", "key", "foreign", "plain"];
    let mut set_up = "CREATE FUNCTION desk.leak(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''%'', $1; RETURN $1; END';
        CREATE FUNCTION desk.tell() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''%'', NEW.phone; RETURN NEW; END';
        GRANT CREATE ON DATABASE pgs TO app_owner; SET ROLE app_owner;
        CREATE TABLE desk.call (id int, phone text) PARTITION BY RANGE (id);
        CREATE TABLE desk.note (id int, phone text)"
        .replace("DATABASE pgs", &format!("DATABASE {}", crate::school::HOME));
    for table in tables.into_iter().filter(|table| *table != "foreign") {
        let key = if table == "key" { "PARTITION BY LIST (desk.leak(phone))" } else { "" };
        set_up += &format!("; CREATE TABLE desk.by_{table} (id int, phone text) {key}");
    }
    set_up += "; CREATE TRIGGER t BEFORE INSERT ON desk.by_trigger FOR EACH ROW EXECUTE FUNCTION desk.tell();
        ALTER TABLE desk.by_check ADD CHECK (desk.leak(phone) <> ''); CREATE INDEX ON desk.by_index (desk.leak(phone));
        CREATE INDEX ON desk.by_some (id) WHERE desk.leak(phone) <> ''; CREATE POLICY p ON desk.by_policy USING (desk.leak(phone) <> '');
        CREATE STATISTICS desk.s ON (desk.leak(phone)), id FROM desk.by_statistics;
        ALTER TABLE desk.by_generated ADD told text GENERATED ALWAYS AS (desk.leak(phone)) STORED; RESET ROLE;
        CREATE FOREIGN DATA WRAPPER elsewhere; CREATE SERVER elsewhere FOREIGN DATA WRAPPER elsewhere; GRANT USAGE ON FOREIGN SERVER elsewhere TO app_owner;
        CREATE FOREIGN TABLE desk.by_foreign (id int, phone text) SERVER elsewhere; ALTER TABLE desk.by_foreign OWNER TO app_owner;
        SECURITY LABEL FOR pg_steward ON COLUMN desk.call.phone IS 'phone'; SECURITY LABEL FOR pg_steward ON COLUMN desk.note.phone IS 'phone';
        SELECT steward.set_mask('app_owner', '*')";
    let school = desk_with(&set_up);
    let check = "CHECK (desk.leak(phone) <> '')";
    let values = "FOR VALUES FROM (0) TO (10)";
    let mut commands = vec![
        format!("CREATE TABLE desk.new PARTITION OF desk.call ({check}) {values}"),
        format!("CREATE TABLE desk.new PARTITION OF desk.call (phone {check}) {values}"),
        format!("CREATE TABLE desk.new PARTITION OF desk.call {values} PARTITION BY LIST (desk.leak(phone))"),
        format!("CREATE TABLE desk.new ({check}) INHERITS (desk.note)"),
        "CREATE TABLE desk.new (LIKE desk.by_check INCLUDING ALL) INHERITS (desk.note)".to_owned(),
        format!("CREATE FOREIGN TABLE desk.new PARTITION OF desk.call {values} SERVER elsewhere"),
        format!("CREATE SCHEMA told CREATE TABLE told.new PARTITION OF desk.call ({check}) {values}"),
    ];
    for table in &tables[..9] {
        commands.push(format!("ALTER TABLE desk.call ATTACH PARTITION desk.by_{table} {values}"));
        commands.push(format!("ALTER TABLE desk.by_{table} INHERIT desk.note"));
    }
    refused_each(&school, "app_owner", &commands);
    allowed_each(
        &mut wire(&school, "app_owner"),
        &[
            "CREATE TABLE desk.new PARTITION OF desk.call (phone NOT NULL) FOR VALUES FROM (0) TO (10)",
            "ALTER TABLE desk.call ATTACH PARTITION desk.by_plain FOR VALUES FROM (10) TO (20)",
            "CREATE TABLE desk.own (phone text CHECK (desk.leak(phone) <> ''))",
        ],
    );
}

/// Functions of cs, and what others, who see everything, have built on them.
const BUILT: [(&str, &str, &str); 17] = [
    ("told_trigger()", "trigger", "CREATE TRIGGER t BEFORE UPDATE ON desk.student FOR EACH ROW EXECUTE FUNCTION desk.told_trigger()"),
    (
        "told_when(text)",
        "bool",
        "CREATE TRIGGER w BEFORE UPDATE ON desk.student FOR EACH ROW WHEN (desk.told_when(OLD.phone)) EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    ),
    ("told_check(text)", "bool", "ALTER TABLE desk.student ADD CONSTRAINT told CHECK (desk.told_check(phone))"),
    ("told_index(text)", "bool", "CREATE INDEX ON desk.student (desk.told_index(phone))"),
    ("told_where(text)", "bool", "CREATE INDEX ON desk.student (id) WHERE desk.told_where(phone)"),
    ("told_statistics(text)", "bool", "CREATE STATISTICS desk.told ON (desk.told_statistics(phone)), id FROM desk.student"),
    (
        "told_generated(text)",
        "bool",
        "ALTER TABLE desk.student ADD told bool GENERATED ALWAYS AS (desk.told_generated(phone)) STORED",
    ),
    ("told_default()", "bool", "ALTER TABLE desk.student ADD later bool DEFAULT desk.told_default()"),
    ("told_policy(text)", "bool", "CREATE POLICY told ON desk.student AS RESTRICTIVE USING (desk.told_policy(phone))"),
    (
        "told_rule(text)",
        "bool",
        "CREATE RULE told AS ON DELETE TO desk.student WHERE desk.told_rule(OLD.phone) DO ALSO INSERT INTO desk.bin VALUES (1)",
    ),
    (
        "told_view(text)",
        "bool",
        "CREATE VIEW desk.inner_view AS SELECT phone FROM desk.student; CREATE VIEW desk.outer_view AS SELECT desk.told_view(phone) FROM desk.inner_view",
    ),
    (
        "told_operator(text, text)",
        "bool",
        "CREATE OPERATOR desk.### (LEFTARG = text, RIGHTARG = text, FUNCTION = desk.told_operator);
         CREATE VIEW desk.by_operator AS SELECT phone OPERATOR(desk.###) '' AS told FROM desk.student",
    ),
    (
        "told_step(bool, text)",
        "bool",
        "CREATE AGGREGATE desk.all_told(text) (SFUNC = desk.told_step, STYPE = bool); CREATE VIEW desk.by_aggregate AS SELECT desk.all_told(phone) FROM desk.student",
    ),
    (
        "told_inside(text)",
        "bool",
        "CREATE FUNCTION desk.outside(text) RETURNS bool LANGUAGE sql BEGIN ATOMIC SELECT desk.told_inside($1); END;
         CREATE VIEW desk.by_function AS SELECT desk.outside(phone) FROM desk.student",
    ),
    (
        "told_domain(text)",
        "bool",
        "CREATE DOMAIN desk.number AS text CHECK (desk.told_domain(VALUE)); ALTER TABLE desk.contact ADD phone desk.number",
    ),
    ("told_key(text)", "int", "CREATE TABLE desk.call (id int, phone text) PARTITION BY LIST (desk.told_key(phone))"),
    (
        "told_order(text, text)",
        "int",
        "RESET ROLE; CREATE OPERATOR CLASS desk.told_ops FOR TYPE text USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =,
            OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 desk.told_order(text, text);
         CREATE INDEX ON desk.student (phone desk.told_ops)",
    ),
];

/// What cs may go on to replace: where cs sees masks, or could make it anew; and a function that is called by its name
/// alone, which nothing in the catalog tells.
const FREE: [(&str, &str, &str); 4] = [
    ("own_free(text)", "bool", ""),
    ("own_check(text)", "bool", "SET ROLE cs; CREATE TABLE desk.own (phone text CHECK (desk.own_check(phone)))"),
    ("own_view(text)", "bool", "SET ROLE cs; CREATE VIEW desk.own_seen AS SELECT desk.own_view(phone) FROM desk.student"),
    (
        "own_named(text)",
        "bool",
        "SET ROLE app_owner; CREATE FUNCTION desk.calls() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM desk.own_named(NEW.phone); RETURN NEW; END';
         CREATE TRIGGER calls BEFORE UPDATE ON desk.student FOR EACH ROW EXECUTE FUNCTION desk.calls()",
    ),
];

fn replacement(function: &str, kind: &str) -> String {
    let result = match kind {
        "trigger" => "NEW",
        "int" => "0",
        _ => "true",
    };
    format!(
        "CREATE OR REPLACE FUNCTION desk.{function} RETURNS {kind} IMMUTABLE LANGUAGE plpgsql AS $f$ BEGIN RETURN {result}; END $f$"
    )
}

fn what_is_called_with_rows_is_not_its_owner_s_to_replace() {
    let mut set_up = "CREATE ROLE clerks; GRANT clerks TO cs; GRANT CREATE ON SCHEMA desk TO clerks; SET ROLE app_owner;
        CREATE TABLE desk.bin (id int); CREATE TABLE desk.contact (id int); RESET ROLE; SET ROLE cs;
        CREATE FUNCTION desk.own_query() RETURNS SETOF text LANGUAGE sql BEGIN ATOMIC SELECT phone FROM desk.student; END"
        .to_owned();
    for (function, kind, _) in BUILT.iter().chain(&FREE) {
        set_up += &format!("; {}", replacement(function, kind));
    }
    for (_, _, built) in BUILT.iter().chain(&FREE) {
        set_up += &format!("; RESET ROLE; SET ROLE app_owner; {built}");
    }
    set_up += "; RESET ROLE; SECURITY LABEL FOR pg_steward ON COLUMN desk.contact.phone IS 'phone';
        SECURITY LABEL FOR pg_steward ON COLUMN desk.call.phone IS 'phone'";
    let school = desk_with(&set_up);
    let mut commands: Vec<String> = BUILT.iter().map(|(function, kind, _)| replacement(function, kind)).collect();
    let alter = |change: &str| format!("ALTER FUNCTION desk.told_check(text) {change}");
    commands.extend(
        [
            "SET search_path = desk",
            "RESET ALL",
            "STRICT",
            "SECURITY DEFINER",
            "RENAME TO free",
            "OWNER TO clerks",
            "DEPENDS ON EXTENSION plpgsql",
        ]
        .map(alter),
    );
    commands.push("ALTER ROUTINE desk.told_trigger() COST 7".to_owned());
    refused_each(&school, "cs", &commands);
    let mut clerk = wire(&school, "cs");
    for (function, kind, _) in FREE {
        allowed_each(&mut clerk, &[&replacement(function, kind)]);
    }
    allowed_each(
        &mut clerk,
        &[
            "CREATE OR REPLACE FUNCTION desk.own_query() RETURNS SETOF text LANGUAGE sql BEGIN ATOMIC SELECT name FROM desk.student; END",
            "CREATE FUNCTION desk.another(text) RETURNS text LANGUAGE sql AS 'SELECT $1'",
            "DROP FUNCTION desk.own_free(text)",
        ],
    );
    // Who sees the tables clear replaces them, and so does cs when nothing is masked any more.
    school.superuser().batch_execute(&replacement("told_check(text)", "bool")).expect("the superuser");
    school
        .superuser()
        .batch_execute("SELECT steward.drop_mask('cs', 'name'), steward.drop_mask('cs', 'id_card'), steward.drop_mask('cs', 'phone')")
        .expect("clear");
    let commands: Vec<&str> = commands[..BUILT.len()].iter().map(String::as_str).collect();
    allowed_each(&mut clerk, &commands);
}
