//! The canonical bytes of audit records: frozen vectors, exactly one encoding, nothing else accepted.

use crate::core::record::{Field, FormatError, Kind, Outcome, Record, check, find_field, list};
use crate::core::tier::Tier;
use proptest::option;
use proptest::prelude::*;

/// Frozen: a release that changes these bytes makes every existing chain unverifiable.
const FULL: &str = concat!(
    "504753544557524400010016",
    "000101000000010100020200000008000304732c3db440",
    "000304000000096170705f6c6f67696e",
    "000404000000096170705f6f776e6572",
    "00050400000006e5bca0e4b889",
    "000604000000093139322e302e322e37",
    "00070400000000",
    "000804000000067363686f6f6c",
    "00090400000006555044415445",
    "000a050000001c0000000b6170702e73747564656e74000000096170702e6772616465",
    "000b010000000103",
    "000c040000000b62756c6b5f757064617465",
    "000d040000000c4f502d323032362d30303031",
    "000e010000000104",
    "000f04000000053432353031",
    "00100200000008ffffffffffffffff",
    "001102000000080000000000000007",
    "0012020000000800000000000004d2",
    "0013040000001f555044415445206170702e73747564656e7420534554206e616d65203d203f",
    "001404000000127b2262223a312e302c2261223a22c3a9227d",
    "00150300000008ffffffffffffffff",
    "001602000000080000000000001092",
);
const MINIMAL: &str = concat!(
    "504753544557524400010005",
    "000101000000010500020200000008000000000000000000030400000000",
    "0009040000000747454e45534953000e010000000101",
);

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
    assert_eq!(find_field(&full().encode(), Field::ApplicationName), Ok(Some(&b""[..])));
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
    assert_eq!((Kind::from_u8(0), Kind::from_u8(7), Outcome::from_u8(5)), (None, None, None));
}

#[test]
fn find_field_reads_each_column() {
    let bytes = unhex(FULL);
    assert_eq!(find_field(&bytes, Field::Time), Ok(Some(&849_317_640_123_456_i64.to_be_bytes()[..])));
    assert_eq!(find_field(&bytes, Field::Person), Ok(Some("张三".as_bytes())));
    assert_eq!(find_field(&bytes, Field::Outcome), Ok(Some(&[4][..])));
    let relations = find_field(&bytes, Field::Relations).unwrap().unwrap();
    assert_eq!(list(relations), Ok(vec!["app.student", "app.grade"]));
    let present = Field::ALL.iter().filter(|field| find_field(&bytes, **field).unwrap().is_some()).count();
    assert_eq!(present, 22);
    let present = Field::ALL.iter().filter(|field| find_field(&unhex(MINIMAL), **field).unwrap().is_some()).count();
    assert_eq!(present, 5);
}

/// One field's bytes, and a record of the minimal fields with others put between.
fn field(id: u16, value_type: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.push(value_type);
    bytes.extend((value.len() as u32).to_be_bytes());
    bytes.extend(value);
    bytes
}

fn record_of(fields: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"PGSTEWRD\0\x01".to_vec();
    bytes.extend((fields.len() as u16).to_be_bytes());
    bytes.extend(fields.concat());
    bytes
}

fn minimal_fields() -> Vec<Vec<u8>> {
    vec![field(1, 1, &[5]), field(2, 2, &[0; 8]), field(3, 4, b""), field(9, 4, b"GENESIS"), field(14, 1, &[1])]
}

#[track_caller]
fn refused(bytes: &[u8], error: FormatError) {
    assert_eq!(Record::decode(bytes), Err(error));
    assert_eq!(check(bytes), Err(error));
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
    refused(&changed(3, field(2, 2, &[0; 8])), FormatError::WrongOrder(2));
    refused(&changed(1, field(1, 1, &[5])), FormatError::WrongOrder(1));
    refused(&changed(4, field(10, 5, b"")), FormatError::WrongLength);
    refused(&changed(4, field(10, 5, &[0, 0, 0, 2, b'a'])), FormatError::WrongLength);
    refused(&changed(4, field(14, 1, &[9])), FormatError::UnknownValue);
    refused(&changed(4, field(14, 1, &[1, 1])), FormatError::WrongLength);
    refused(&changed(4, field(14, 4, &[1])), FormatError::WrongType(14));
    refused(&changed(1, field(2, 2, &[0; 7])), FormatError::WrongLength);
    refused(&changed(2, field(3, 4, &[0xff])), FormatError::NotUtf8);
    refused(&added(field(23, 2, &[0; 8])), FormatError::UnknownField(23));
    refused(&record_of(&minimal[..4]), FormatError::MissingField);
    refused(&[unhex(MINIMAL), vec![0]].concat(), FormatError::TrailingBytes);
    refused(b"PGSTEWRX\0\x01\0\0", FormatError::NotARecord);
    refused(b"PGSTEWRD\0", FormatError::Truncated);
    refused(b"", FormatError::NotARecord);
}

#[test]
fn another_format_is_refused_everywhere() {
    for format in [0_u16, 2, 256, u16::MAX] {
        let mut bytes = unhex(MINIMAL);
        bytes[8..10].copy_from_slice(&format.to_be_bytes());
        refused(&bytes, FormatError::UnknownFormat(format));
        assert_eq!(find_field(&bytes, Field::Kind), Err(FormatError::UnknownFormat(format)));
    }
}

#[test]
fn every_shorter_record_is_refused() {
    let bytes = unhex(FULL);
    for len in 0..bytes.len() {
        assert!(Record::decode(&bytes[..len]).is_err(), "{len} bytes were accepted");
    }
}

fn text() -> BoxedStrategy<Option<String>> {
    option::of(".{0,12}").boxed()
}

prop_compose! {
    fn any_record()(
        (kind, outcome, tier) in (1_u8..=6, 1_u8..=4, option::of(1_u8..=3)),
        (time, xid) in (any::<i64>(), any::<Option<u64>>()),
        (user_id, operation_type) in (".{0,9}", ".{0,9}"),
        who in [text(), text(), text(), text(), text()],
        what in [text(), text(), text(), text(), text()],
        relations in prop::collection::vec(".{0,9}", 0..4),
        numbers in any::<[Option<i64>; 4]>(),
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
        fields in prop::collection::vec((0_u16..24, 0_u8..7, prop::collection::vec(any::<u8>(), 0..10)), 0..8),
        sorted in any::<bool>(),
    ) {
        let mut fields = fields;
        if sorted { fields.sort(); }
        let mut bytes = minimal_fields();
        bytes.extend(fields.iter().map(|(id, value_type, value)| field(*id, *value_type, value)));
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
        let bytes = if with_header { [b"PGSTEWRD\0\x01\0", &tail[..]].concat() } else { tail };
        let decoded = Record::decode(&bytes);
        prop_assert_eq!(check(&bytes).is_ok(), decoded.is_ok());
        for field in Field::ALL {
            let _ = find_field(&bytes, field);
        }
        let _ = list(&bytes);
    }

    #[test]
    fn find_field_agrees_with_decode(record in any_record()) {
        let bytes = record.encode();
        let value = |field| find_field(&bytes, field).unwrap();
        let text = |field| value(field).map(|value| std::str::from_utf8(value).unwrap().to_owned());
        prop_assert_eq!(text(Field::Statement), record.statement.clone());
        prop_assert_eq!(text(Field::EffectiveUser), record.effective_user.clone());
        let number = |field| value(field).map(|value| i64::from_be_bytes(value.try_into().unwrap()));
        prop_assert_eq!(number(Field::Backend), record.backend);
        prop_assert_eq!(number(Field::Xid), record.xid.map(|xid| xid as i64));
    }
}
