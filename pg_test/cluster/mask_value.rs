//! Masks as SQL functions: what everybody may ask, what nobody can forge, types, keys and encodings.
//!
//! Only the planner makes a `steward.mask_spec`. Here a superuser does, with a function of the server that returns its
//! argument as it came, before the policy is active.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use postgres::Client;
use postgres::error::SqlState;

use crate::cluster::Cluster;
use crate::expect::{expect_error, expect_refused};
use crate::school::{self, School, ask};

tests! {
    everybody_may_ask_what_a_mask_makes_of_a_value,
    nobody_can_write_a_spec,
    a_superuser_forges_no_spec_while_the_policy_is_active,
    mask_value_makes_no_tokens_to_compare_with,
    tokens_are_for_those_who_were_granted_them,
    tokens_follow_the_key_file,
    every_type_keeps_its_type,
    what_has_no_mask_in_its_type_is_null,
    arrays_keep_their_shape,
    a_megabyte_is_hidden_without_being_read,
    an_index_on_a_mask_is_used,
    other_encodings_are_masked_alike,
    bytes_that_are_no_characters_are_hidden,
}

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";
/// The numbers of masks in a spec.
const NONE: i64 = 1;
const PARTIAL: i64 = 2;
const GENERALIZE: i64 = 3;
const PSEUDONYM: i64 = 4;
const HIDE: i64 = 6;
/// The numbers of classes.
const PHONE: i64 = 2;
const GUARDIAN: i64 = 5;
const BIRTH_DATE: i64 = 8;
const FREE_ID: i64 = 9;
const SCORE: i64 = 10;
const AMOUNT: i64 = 11;

/// What `Spec::to_i64` makes.
fn spec(class: i64, mask: i64) -> String {
    format!("app.spec({})", 1 | class << 8 | mask << 24)
}

/// A session in which specs can be made.
fn forger(school: &School) -> Client {
    let mut superuser = school.superuser();
    let forge = "CREATE FUNCTION app.spec(bigint) RETURNS steward.mask_spec
        LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'int8up'";
    superuser.batch_execute(forge).expect("nothing is active");
    superuser
}

/// The mask of a value that is written as an SQL expression, as text.
#[track_caller]
fn masked(session: &mut Client, value: &str, spec: &str) -> Option<String> {
    ask(session, &format!("SELECT steward._mask({value}, {spec})::text"))
}

/// The server starts anew with a key.
fn give_key(school: &mut School) -> PathBuf {
    school.stop();
    let file = school.private_file("steward.key", KEY);
    school.configure(&[&format!("steward.key_file = '{}'", file.display())]);
    school.start();
    file
}

fn everybody_may_ask_what_a_mask_makes_of_a_value() {
    let school = School::active();
    let mut clerk = school.session("clerk_zhao");
    let questions = [
        ("'id_card', '320502201003071234', prefix => 6, suffix => 4", Some("320502****1234")),
        ("'phone', '13800000007'", Some("138****0007")),
        ("'phone', NULL", None),
        ("NULL, '13800000007'", Some("***")),
        ("'phone', '13800000007', NULL", Some("***")),
        ("'phone', '13800000007', 'hide'", Some("***")),
        ("'phone', '13800000007', 'none'", Some("13800000007")),
        ("'address', '江苏省苏州市姑苏区观前街1号', 'generalize'", Some("江苏省苏州市****")),
        ("'no_such_class', '13800000007'", Some("***")),
        ("'phone', ''", Some("***")),
    ];
    for (question, shown) in questions {
        let answer: Option<String> = ask(&mut clerk, &format!("SELECT steward.mask_value({question})"));
        assert_eq!(answer.as_deref(), shown, "{question}");
    }
    for wrong in ["'phone', '1', 'blur'", "'phone', '1', prefix => 65", "'phone', '1', suffix => -1"] {
        let call = clerk.query(&format!("SELECT steward.mask_value({wrong})"), &[]);
        expect_error(call, &SqlState::INVALID_PARAMETER_VALUE, "", "");
    }
    assert!(ask::<bool>(&mut clerk, "SELECT steward.is_id_card('11010519491231002x')"));
}

/// With a spec of their own everybody could have pseudonyms made of all numbers there are.
fn nobody_can_write_a_spec() {
    let school = School::inactive();
    let table = "CREATE TABLE app.trial (spec steward.mask_spec); GRANT ALL ON app.trial TO PUBLIC";
    school.superuser().batch_execute(table).expect("table");
    let number = 1 | FREE_ID << 8 | PSEUDONYM << 24;
    for login in ["clerk_zhao", "postgres"] {
        let mut session = school.session(login);
        let ways = [
            format!("SELECT steward._mask('S1'::text, '{number}'::steward.mask_spec)"),
            format!("SELECT steward._mask('S1'::text, '{number}')"),
            "SELECT steward._mask('S1'::text, 'free_id pseudonym')".to_owned(),
            format!("SELECT steward._mask('S1'::text, {number})"),
            format!("SELECT steward._mask('S1'::text, {number}::int8::steward.mask_spec)"),
            format!("SELECT (ARRAY['{number}'])::steward.mask_spec[]"),
            format!("SELECT (jsonb_populate_record(NULL::app.trial, '{{\"spec\": {number}}}')).spec"),
            format!("SELECT ('({number})'::app.trial).spec"),
            format!("INSERT INTO app.trial VALUES ('{number}')"),
            format!("COPY app.trial FROM PROGRAM 'echo {number}'"),
            "COPY app.trial FROM STDIN (FORMAT binary)".to_owned(),
            "CREATE CAST (int8 AS steward.mask_spec) WITH INOUT; SELECT 1::int8::steward.mask_spec".to_owned(),
        ];
        for way in ways {
            assert!(session.batch_execute(&way).is_err(), "{login}: {way}");
        }
        // A NULL is a spec of nothing.
        assert_eq!(ask::<Option<String>>(&mut session, "SELECT steward._mask('S1'::text, NULL)"), None);
        assert_eq!(ask::<i64>(&mut session, "SELECT count(*) FROM app.trial"), 0);
    }
}

fn a_superuser_forges_no_spec_while_the_policy_is_active() {
    let school = School::active();
    let mut superuser = school.superuser();
    let ways = [
        "CREATE CAST (int8 AS steward.mask_spec) WITHOUT FUNCTION",
        "CREATE FUNCTION app.spec(bigint) RETURNS steward.mask_spec LANGUAGE internal AS 'int8up'",
    ];
    for way in ways {
        expect_refused(superuser.batch_execute(way));
    }
}

fn mask_value_makes_no_tokens_to_compare_with() {
    let mut school = School::inactive();
    give_key(&mut school);
    for login in ["clerk_zhao", "postgres"] {
        let mut session = school.session(login);
        for question in ["'free_id', 'S1'", "'phone', '13800000007', 'pseudonym'", "'phone', '13800000007', 'hash'"] {
            let answer: String = ask(&mut session, &format!("SELECT steward.mask_value({question})"));
            assert_eq!(answer, "***", "{login}: {question}");
        }
    }
}

fn tokens_are_for_those_who_were_granted_them() {
    let school = School::inactive();
    let call = "SELECT steward.pseudonym('phone', '13800000007')";
    expect_error(school.session("clerk_zhao").query(call, &[]), &SqlState::INSUFFICIENT_PRIVILEGE, "", "");
    let grant = "GRANT EXECUTE ON FUNCTION steward.pseudonym(text, text, text) TO clerk_zhao";
    school.superuser().batch_execute(grant).expect("grant");
    // There is no key file.
    let without = school.session("clerk_zhao").query(call, &[]);
    expect_error(without, &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "key_file", "openssl");
    let mask = school.session("clerk_zhao").query("SELECT steward.pseudonym('phone', '13800000007', 'partial')", &[]);
    expect_error(mask, &SqlState::INVALID_PARAMETER_VALUE, "", "");
}

fn tokens_follow_the_key_file() {
    let mut school = School::inactive();
    let mut session = forger(&school);
    let (text, number) = ("'S1'::text", "42::int8");
    // Without a key there are none, and nothing else either.
    assert_eq!(masked(&mut session, text, &spec(FREE_ID, PSEUDONYM)).as_deref(), Some("***"));
    assert_eq!(masked(&mut session, number, &spec(FREE_ID, PSEUDONYM)), None);
    drop(session);
    let file = give_key(&mut school);
    let mut session = school.superuser();
    let token = masked(&mut session, text, &spec(FREE_ID, PSEUDONYM)).expect("a token");
    assert_eq!(token.len(), 16, "{token}");
    assert_eq!(ask::<String>(&mut session, "SELECT steward.pseudonym('free_id', 'S1')"), token);
    assert_eq!(masked(&mut session, text, &spec(FREE_ID, PARTIAL)), Some(token.clone()));
    assert!(masked(&mut session, number, &spec(FREE_ID, PSEUDONYM)).is_some());
    let uuid = "'00000000-0000-0000-0000-000000000001'::uuid";
    assert_eq!(masked(&mut session, uuid, &spec(FREE_ID, PSEUDONYM)).expect("a token").as_bytes()[14], b'8');
    // Opened to others, the file counts for nothing from the next statement on.
    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("chmod");
    assert_eq!(masked(&mut session, text, &spec(FREE_ID, PSEUDONYM)).as_deref(), Some("***"));
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("chmod");
    assert_eq!(masked(&mut session, text, &spec(FREE_ID, PSEUDONYM)), Some(token.clone()));
    // Another key makes other tokens.
    fs::write(&file, KEY.replace("00", "ff")).expect("key");
    assert_ne!(masked(&mut session, text, &spec(FREE_ID, PSEUDONYM)), Some(token));
}

fn every_type_keeps_its_type() {
    let school = School::inactive();
    let mut session = forger(&school);
    let table = [
        ("'13800000007'::text", PHONE, PARTIAL, "138****0007"),
        ("'13800000007'::varchar(20)", PHONE, PARTIAL, "138****0007"),
        ("'13800000007'::char(20)", PHONE, PARTIAL, "138****0007"),
        ("'13800000007'::text", PHONE, NONE, "13800000007"),
        ("'13800000007'::text", PHONE, HIDE, "***"),
        ("date '2010-03-07'", BIRTH_DATE, PARTIAL, "2010-01-01"),
        ("date '2010-03-07'", BIRTH_DATE, GENERALIZE, "2009-09-01"),
        ("date '1899-12-31'", BIRTH_DATE, PARTIAL, "1899-01-01"),
        ("timestamp '2010-03-07 08:00'", BIRTH_DATE, PARTIAL, "2010-01-01 00:00:00"),
        ("85::int2", SCORE, PARTIAL, "80"),
        ("85::int4", SCORE, GENERALIZE, "80"),
        ("-1234::int8", AMOUNT, PARTIAL, "-1000"),
        ("1234.56::numeric(10,2)", AMOUNT, PARTIAL, "1000"),
        ("85.5::float8", SCORE, PARTIAL, "80"),
        (r#"'{"phone": 13800000007}'::json"#, GUARDIAN, PARTIAL, r#"{"phone":"138****0007"}"#),
        (r#"'{"name": "张三"}'::jsonb"#, GUARDIAN, PARTIAL, r#"{"name": "张**"}"#),
        (r#"'{"name": "张三"}'::jsonb"#, GUARDIAN, HIDE, r#""***""#),
    ];
    for (value, class, mask, shown) in table {
        let spec = spec(class, mask);
        assert_eq!(masked(&mut session, value, &spec).as_deref(), Some(shown), "{value}");
        let same = format!("SELECT pg_typeof(steward._mask({value}, {spec})) = pg_typeof({value})");
        assert!(ask::<bool>(&mut session, &same), "{value}");
    }
    session.batch_execute("SET TimeZone = 'Asia/Shanghai'").expect("zone");
    let moment = "timestamptz '2010-01-01 00:00+08'";
    assert_eq!(masked(&mut session, moment, &spec(BIRTH_DATE, PARTIAL)).as_deref(), Some("2009-01-01 08:00:00+08"));
}

fn what_has_no_mask_in_its_type_is_null() {
    let school = School::inactive();
    let mut session = forger(&school);
    let table = [
        ("date '2010-03-07'", BIRTH_DATE, HIDE),
        ("date '2010-03-07'", PHONE, PARTIAL),
        ("date 'infinity'", BIRTH_DATE, PARTIAL),
        ("date '-infinity'", BIRTH_DATE, PARTIAL),
        ("date '0044-03-15 BC'", BIRTH_DATE, PARTIAL),
        ("timestamp 'infinity'", BIRTH_DATE, PARTIAL),
        ("13800000007::int8", PHONE, PARTIAL),
        ("85::int4", SCORE, HIDE),
        ("85::int4", SCORE, PSEUDONYM),
        ("'NaN'::numeric", AMOUNT, PARTIAL),
        ("'Infinity'::numeric", AMOUNT, PARTIAL),
        ("1e100::numeric", AMOUNT, PARTIAL),
        ("'NaN'::float8", SCORE, PARTIAL),
        ("'-Infinity'::float8", AMOUNT, PARTIAL),
        ("NULL::text", PHONE, PARTIAL),
    ];
    for (value, class, mask) in table {
        assert_eq!(masked(&mut session, value, &spec(class, mask)), None, "{value}");
    }
    // A number that is no spec hides.
    for number in ["0", "-1", "1::bigint << 62"] {
        assert_eq!(masked(&mut session, "'1'::text", &format!("app.spec({number})")).as_deref(), Some("***"));
    }
}

fn arrays_keep_their_shape() {
    let school = School::inactive();
    let mut session = forger(&school);
    let table = [
        ("ARRAY['13800000007', NULL, 'x']", "{138****0007,NULL,***}"),
        ("ARRAY[['13800000007'],['13900000008']]", "{{138****0007},{139****0008}}"),
        ("'[5:6]={13800000007,x}'::text[]", "[5:6]={138****0007,***}"),
        ("ARRAY[]::text[]", "{}"),
        ("ARRAY['13800000007']::varchar[]", "{138****0007}"),
    ];
    for (value, shown) in table {
        assert_eq!(masked(&mut session, value, &spec(PHONE, PARTIAL)).as_deref(), Some(shown), "{value}");
    }
}

fn a_megabyte_is_hidden_without_being_read() {
    let school = School::inactive();
    let mut session = forger(&school);
    let tables = "CREATE TABLE app.big (plain text, packed text, elsewhere text);
        ALTER TABLE app.big ALTER plain SET STORAGE plain, ALTER elsewhere SET STORAGE external;
        INSERT INTO app.big VALUES (repeat('1', 4000), repeat('1', 1 << 20), repeat('1', 1 << 20))";
    session.batch_execute(tables).expect("big values");
    for column in ["plain", "packed", "elsewhere"] {
        for class in [PHONE, GUARDIAN, AMOUNT] {
            let value = format!("(SELECT {column} FROM app.big)");
            assert_eq!(masked(&mut session, &value, &spec(class, PARTIAL)).as_deref(), Some("***"), "{column}");
        }
    }
    let length: i32 =
        ask(&mut session, &format!("SELECT length(steward._mask(packed, {})) FROM app.big", spec(PHONE, NONE)));
    assert_eq!(length, 1 << 20);
}

fn an_index_on_a_mask_is_used() {
    let school = School::inactive();
    let mut session = school.superuser();
    let index =
        "CREATE INDEX student_masked_phone ON app.student (steward.mask_value('phone', phone)); ANALYZE app.student;
        SET enable_seqscan = off";
    session.batch_execute(index).expect("the function is IMMUTABLE");
    let rows = session
        .query("EXPLAIN SELECT id FROM app.student WHERE steward.mask_value('phone', phone) = '138****0007'", &[])
        .expect("explain");
    let plan: String = rows.iter().map(|row| row.get::<_, String>(0)).collect();
    assert!(plan.contains("student_masked_phone"), "{plan}");
}

/// A database in this encoding with the extension.
fn encoded(encoding: &str) -> School {
    let settings = school::settings("enforce");
    let cluster = Cluster::new(&settings.each_ref().map(String::as_str));
    let create = format!("CREATE DATABASE school ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0");
    cluster.connect("postgres", "postgres").batch_execute(&create).expect("database");
    let school = School::of(cluster);
    school.superuser().batch_execute("CREATE EXTENSION pg_steward").expect("extension");
    school
}

fn other_encodings_are_masked_alike() {
    let school = encoded("EUC_CN");
    let mut session = school.superuser();
    let table = [
        ("'name', '欧阳修文'", "欧阳**"),
        ("'address', '江苏省苏州市姑苏区观前街1号'", "江苏省苏州市姑苏区****"),
        ("'guardian', '父亲：张三 13800000007'", "父亲：张** 138****0007"),
        ("'phone', '１３８０００００００７'", "138****0007"),
        // 0xFEFE is no character that UTF-8 has.
        ("'name', convert_from('\\xd5c5fefe', 'EUC_CN')", "***"),
    ];
    for (question, shown) in table {
        let answer: String = ask(&mut session, &format!("SELECT steward.mask_value({question})"));
        assert_eq!(answer, shown, "{question}");
    }
}

fn bytes_that_are_no_characters_are_hidden() {
    let school = encoded("SQL_ASCII");
    let mut session = school.superuser();
    for class in ["name", "phone", "guardian", "address", "email"] {
        let answer: String =
            ask(&mut session, &format!("SELECT steward.mask_value('{class}', convert_from('\\xff3138', 'SQL_ASCII'))"));
        assert_eq!(answer, "***", "{class}");
    }
    let answer: String = ask(&mut session, "SELECT steward.mask_value('name', '张三')");
    assert_eq!(answer, "张**", "bytes that happen to be UTF-8");
}
