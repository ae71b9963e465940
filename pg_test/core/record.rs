//! The canonical bytes of audit records: frozen vectors, exactly one encoding, nothing else accepted.

use crate::core::record::{
    Draft, Field, FormatError, Kind, Outcome, Part, Record, Side, Split, Value, check, find_field, find_in_body,
    is_definition, list,
};
use crate::core::tier::Tier;
use proptest::option;
use proptest::prelude::*;

/// Frozen: a release that changes these bytes makes every existing chain unverifiable.
const FULL: &str = concat!(
    "01",
    "0101",
    "02000304732c3db440",
    "03096170705f6c6f67696e",
    "04096170705f6f776e6572",
    "0506e5bca0e4b889",
    "06093139322e302e322e37",
    "0700",
    "08067363686f6f6c",
    "0906555044415445",
    "0a160b6170702e73747564656e74096170702e6772616465",
    "0b03",
    "0c0b62756c6b5f757064617465",
    "0d1f555044415445206170702e73747564656e7420534554206e616d65203d203f",
    "0e0c4f502d323032362d30303031",
    "0f04",
    "10053432353031",
    "1101",
    "120e",
    "13a413",
    "14127b2262223a312e302c2261223a22c3a9227d",
    "15ffffffffffffffffff01",
    "16a442",
);
const MINIMAL: &str = "0101050200000000000000000300090747454e455349530f01";
const COMPACT: &str = "01010102000000000000002a0f011102130215071652178002180e";

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn full() -> Record {
    let text = |text: &str| Some(text.to_owned());
    Record {
        kind: Kind::Statement,
        time: 849_317_640_123_456,
        user_id: "app_login".to_owned(),
        effective_user: text("app_owner"),
        person: text("张三"),
        client_ip: text("192.0.2.7"),
        application_name: text(""),
        database: text("school"),
        operation_type: "UPDATE".to_owned(),
        relations: vec!["app.student".to_owned(), "app.grade".to_owned()],
        tier: Some(Tier::Critical),
        rule: text("bulk_update"),
        op_no: text("OP-2026-0001"),
        outcome: Outcome::RolledBack,
        sqlstate: text("42501"),
        rows: Some(-1),
        repeats: Some(7),
        duration_us: Some(1234),
        statement: text("UPDATE app.student SET name = ?"),
        details: text("{\"b\":1.0,\"a\":\"é\"}"),
        xid: Some(u64::MAX),
        backend: Some(4242),
        who: None,
        what: None,
        body: None,
    }
}

#[test]
fn full_record_has_the_frozen_bytes() {
    assert_eq!(full().encode(), unhex(FULL));
    assert_eq!(Record::decode(&unhex(FULL)), Ok(full()));
}

#[test]
fn minimal_record_has_the_frozen_bytes() {
    let minimal = Record::new(Kind::Genesis, "GENESIS");
    assert_eq!(minimal.encode(), unhex(MINIMAL));
    assert_eq!(Record::decode(&unhex(MINIMAL)), Ok(minimal));
}

#[test]
fn encode_into_appends() {
    let mut out = b"before".to_vec();
    full().encode_into(&mut out);
    assert_eq!(out.strip_prefix(b"before"), Some(&unhex(FULL)[..]));
}

#[test]
fn absent_is_not_empty() {
    let mut record = full();
    record.application_name = None;
    assert_ne!(record.encode(), full().encode());
    assert_eq!(find_field(&record.encode(), Field::ApplicationName), Ok(None));
    assert_eq!(find_field(&full().encode(), Field::ApplicationName), Ok(Some(Value::Text(""))));
}

#[test]
fn names_and_numbers_lead_back() {
    for kind in Kind::ALL {
        assert_eq!(Kind::from_u8(*kind as u8), Some(*kind));
        assert_eq!(Kind::from_name(kind.name()), Some(*kind));
    }
    for outcome in Outcome::ALL {
        assert_eq!(Outcome::from_u8(*outcome as u8), Some(*outcome));
        assert_eq!(Outcome::from_name(outcome.name()), Some(*outcome));
    }
    assert_eq!(
        Outcome::ALL.iter().map(|o| o.name()).collect::<Vec<_>>(),
        ["SUCCESS", "FAILURE", "DENIED", "ROLLED_BACK"]
    );
    assert_eq!((Kind::from_u8(0), Kind::from_u8(8), Outcome::from_u8(5)), (None, None, None));
}

#[test]
fn find_field_reads_each_column() {
    let bytes = unhex(FULL);
    assert_eq!(find_field(&bytes, Field::Time), Ok(Some(Value::Int(849_317_640_123_456))));
    assert_eq!(find_field(&bytes, Field::Person), Ok(Some(Value::Text("张三"))));
    assert_eq!(find_field(&bytes, Field::Outcome), Ok(Some(Value::Byte(4))));
    assert_eq!(find_field(&bytes, Field::Xid), Ok(Some(Value::Unsigned(u64::MAX))));
    let Ok(Some(Value::List(relations))) = find_field(&bytes, Field::Relations) else { panic!("no relations") };
    assert_eq!(list(relations), Ok(vec!["app.student", "app.grade"]));
    let present = Field::ALL.iter().filter(|field| find_field(&bytes, **field).unwrap().is_some()).count();
    assert_eq!(present, 22);
    let present = Field::ALL.iter().filter(|field| find_field(&unhex(MINIMAL), **field).unwrap().is_some()).count();
    assert_eq!(present, 5);
}

/// A record that refers to definitions of both sides.
fn compact() -> Record {
    Record {
        time: 42,
        user_id: String::new(),
        rows: Some(1),
        duration_us: Some(1),
        xid: Some(7),
        backend: Some(41),
        who: Some(128),
        what: Some(7),
        ..Record::new(Kind::Statement, "")
    }
}

#[test]
fn compact_record_has_the_frozen_bytes() {
    assert_eq!(compact().encode(), unhex(COMPACT));
    assert_eq!(Record::decode(&unhex(COMPACT)), Ok(compact()));
}

#[test]
fn a_definition_stands_for_its_side() {
    let mut record = compact();
    record.resolve(&Part::who(&full()).body).expect("who");
    assert_eq!((record.who, record.what, record.user_id.as_str()), (None, Some(7), "app_login"));
    record.resolve(&Part::what(&full()).body).expect("what");
    assert_eq!((record.what, record.statement), (None, full().statement));
    assert!(compact().resolve(&unhex("0f01")).is_err(), "a body holds nothing but its side");
}

/// One field's bytes, and a record of the minimal fields with others put between.
fn field(id: u8, value: &[u8]) -> Vec<u8> {
    [&[id], value].concat()
}

fn record_of(fields: &[Vec<u8>]) -> Vec<u8> {
    [vec![1], fields.concat()].concat()
}

fn minimal_fields() -> Vec<Vec<u8>> {
    vec![field(1, &[5]), field(2, &[0; 8]), field(3, &[0]), field(9, b"\x07GENESIS"), field(15, &[1])]
}

#[track_caller]
fn refused(bytes: &[u8], error: FormatError) {
    assert_eq!(Record::decode(bytes), Err(error));
    assert_eq!(check(bytes), Err(error));
    assert_eq!(Split::new(bytes).err(), Some(error));
}

#[test]
fn what_encode_would_not_write_is_refused() {
    let minimal = minimal_fields();
    assert_eq!(record_of(&minimal), unhex(MINIMAL));
    let changed = |at: usize, with: Vec<u8>| {
        let mut fields = minimal.clone();
        fields[at] = with;
        record_of(&fields)
    };
    let added = |with: Vec<u8>| {
        let mut fields = minimal.clone();
        fields.push(with);
        record_of(&fields)
    };
    refused(&changed(3, field(2, &[0; 8])), FormatError::WrongOrder(2));
    refused(&changed(1, field(1, &[5])), FormatError::WrongOrder(1));
    refused(&changed(4, field(10, &[0])), FormatError::WrongLength);
    refused(&changed(4, field(10, &[2, 2, b'a'])), FormatError::Truncated);
    refused(&changed(4, field(15, &[9])), FormatError::UnknownValue);
    refused(&changed(2, field(3, &[1, 0xff])), FormatError::NotUtf8);
    refused(&added(field(26, &[0; 8])), FormatError::UnknownField(26));
    refused(&added(field(17, &[0x82, 0])), FormatError::NotCanonical);
    refused(&added(field(21, &[0xff; 10])), FormatError::NotCanonical);
    refused(&added(field(23, &[2])), FormatError::MissingField);
    refused(&record_of(&minimal[..4]), FormatError::MissingField);
    refused(&[unhex(MINIMAL), vec![0]].concat(), FormatError::UnknownField(0));
    refused(&[unhex(COMPACT), vec![25, 1]].concat(), FormatError::Truncated);
    refused(b"", FormatError::Truncated);
}

#[test]
fn another_format_is_refused_everywhere() {
    for format in [0_u8, 2, u8::MAX] {
        let mut bytes = unhex(MINIMAL);
        bytes[0] = format;
        refused(&bytes, FormatError::UnknownFormat(format));
        assert_eq!(find_field(&bytes, Field::Kind), Err(FormatError::UnknownFormat(format)));
    }
}

#[test]
fn a_shorter_record_is_refused_or_another_record() {
    let bytes = unhex(FULL);
    for len in 0..bytes.len() {
        assert_ne!(Record::decode(&bytes[..len]), Ok(full()), "{len} bytes");
    }
}

fn text() -> BoxedStrategy<Option<String>> {
    option::of(".{0,12}").boxed()
}

prop_compose! {
    fn any_record()(
        (kind, outcome, tier) in (1_u8..=7, 1_u8..=4, option::of(1_u8..=3)),
        (time, xid) in (any::<i64>(), any::<Option<u64>>()),
        (user_id, operation_type) in (".{0,9}", ".{0,9}"),
        who in [text(), text(), text(), text(), text()],
        what in [text(), text(), text(), text(), text()],
        relations in prop::collection::vec(".{0,9}", 0..4),
        numbers in any::<[Option<i64>; 4]>(),
        body in option::of(prop::collection::vec(any::<u8>(), 0..9)),
    ) -> Record {
        let [effective_user, person, client_ip, application_name, database] = who;
        let [rule, op_no, sqlstate, statement, details] = what;
        let [rows, repeats, duration_us, backend] = numbers;
        Record {
            kind: Kind::from_u8(kind).unwrap(),
            outcome: Outcome::from_u8(outcome).unwrap(),
            tier: tier.and_then(Tier::from_u8),
            time, xid, user_id, operation_type, effective_user, person, client_ip, application_name, database,
            rule, op_no, sqlstate, statement, details, relations, rows, repeats, duration_us, backend,
            who: None, what: None, body,
        }
    }
}

proptest! {
    #[test]
    fn decode_undoes_encode(record in any_record()) {
        let bytes = record.encode();
        prop_assert_eq!(check(&bytes), Ok(()));
        prop_assert_eq!(Record::decode(&bytes), Ok(record));
    }

    #[test]
    fn damaged_bytes_are_refused_or_canonical(
        record in any_record(),
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = record.encode();
        let at = at.index(bytes.len());
        if cut { bytes.remove(at); } else { bytes[at] = with; }
        let decoded = Record::decode(&bytes);
        prop_assert_eq!(check(&bytes), decoded.as_ref().map(drop).map_err(|error| *error));
        if let Ok(decoded) = decoded {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }

    #[test]
    fn any_fields_are_refused_or_canonical(
        fields in prop::collection::vec((0_u8..27, prop::collection::vec(any::<u8>(), 0..10)), 0..8),
        sorted in any::<bool>(),
    ) {
        let mut bytes = minimal_fields();
        bytes.extend(fields.iter().map(|(id, value)| field(*id, value)));
        if sorted { bytes.sort(); }
        let bytes = record_of(&bytes);
        if let Ok(decoded) = Record::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        tail in prop::collection::vec(any::<u8>(), 0..200),
        with_header in any::<bool>(),
    ) {
        let bytes = if with_header { [&[1], &tail[..]].concat() } else { tail };
        let decoded = Record::decode(&bytes);
        prop_assert_eq!(check(&bytes).is_ok(), decoded.is_ok());
        prop_assert_eq!(Split::new(&bytes).is_ok(), decoded.is_ok());
        for field in Field::ALL {
            let _ = (find_field(&bytes, field), find_in_body(&bytes, field));
        }
        let _ = list(&bytes);
        let _ = Record::new(Kind::Statement, "").resolve(&bytes);
    }

    #[test]
    fn a_draft_is_written_as_its_record(record in any_record(), who in option::of(1_i64..), what in option::of(1_i64..)) {
        let mut bytes = Vec::new();
        Draft::of(&record).encode_into(&mut bytes, who, what);
        let mut expected = Record { body: None, who, what, ..record };
        if who.is_some() {
            expected.user_id = String::new();
            (expected.effective_user, expected.person, expected.client_ip) = (None, None, None);
            (expected.application_name, expected.database) = (None, None);
        }
        if what.is_some() {
            expected.operation_type = String::new();
            (expected.relations, expected.tier, expected.rule, expected.statement) = (Vec::new(), None, None, None);
        }
        prop_assert_eq!(&expected.encode(), &bytes);
        prop_assert_eq!(Record::decode(&bytes), Ok(expected));
    }

    #[test]
    fn a_record_cut_and_joined_is_the_same(record in any_record(), who in 1_i64.., what in 1_i64..) {
        let bytes = record.encode();
        let split = Split::new(&bytes).unwrap();
        prop_assert_eq!((split.kind, split.time, split.outcome), (record.kind, record.time, record.outcome));
        prop_assert_eq!(split.has_op_no, record.op_no.is_some());
        prop_assert_eq!(split.who, Side::Own(&Part::who(&record).body));
        prop_assert_eq!(split.what, Side::Own(&Part::what(&record).body));
        let mut compact = Vec::new();
        split.join(&mut compact, Side::Defined(who), Side::Defined(what));
        let again = Split::new(&compact).unwrap();
        prop_assert_eq!((again.who, again.what), (Side::Defined(who), Side::Defined(what)));
        let mut joined = Vec::new();
        again.join(&mut joined, split.who, split.what);
        prop_assert_eq!(&joined, &bytes);
        let mut resolved = Record::decode(&compact).unwrap();
        resolved.resolve(&Part::who(&record).body).unwrap();
        resolved.resolve(&Part::what(&record).body).unwrap();
        prop_assert_eq!(resolved, record);
    }

    #[test]
    fn a_definition_is_known_by_its_first_bytes(record in any_record()) {
        prop_assert_eq!(is_definition(&record.encode()), record.kind == Kind::Definition);
    }

    #[test]
    fn find_field_agrees_with_decode(record in any_record()) {
        let bytes = record.encode();
        let value = |field| find_field(&bytes, field).unwrap();
        let text = |field| match value(field) { Some(Value::Text(text)) => Some(text.to_owned()), _ => None };
        prop_assert_eq!(text(Field::Statement), record.statement.clone());
        prop_assert_eq!(text(Field::EffectiveUser), record.effective_user.clone());
        prop_assert_eq!(value(Field::Backend), record.backend.map(Value::Int));
        prop_assert_eq!(value(Field::Xid), record.xid.map(Value::Unsigned));
    }
}

#[test]
fn a_detail_is_added_to_those_there_are() {
    let draft = |details: Option<&str>| {
        Draft::of(&Record { details: details.map(str::to_owned), ..Record::new(Kind::Statement, "SELECT") })
    };
    let told = |details| draft(details).with_detail("rows_read", 7).details;
    assert_eq!(told(None).as_deref(), Some(r#"{"rows_read":7}"#));
    assert_eq!(told(Some(r#"{"compared":["a.b"]}"#)).as_deref(), Some(r#"{"compared":["a.b"],"rows_read":7}"#));
}
