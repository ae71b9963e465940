//! Masks by class: what is shown of the values that each must handle, and that nothing else is.

mod attack;
mod names;
mod property;

use crate::core::mask::json::mask_json;
use crate::core::mask::{Class, Key, Mask, Spec, address, band, birth_date, id_card, mask_text, token};

pub fn spec(class: Class, mask: Mask, prefix: Option<i32>, suffix: Option<i32>) -> Spec {
    Spec::new(class, mask, prefix, suffix).expect("ends in range")
}

pub fn key() -> Key {
    Key::derive(&[7; 32]).expect("a key")
}

#[track_caller]
fn shows(class: Class, mask: Mask, ends: (Option<i32>, Option<i32>), table: &[(&str, &str)]) {
    for (value, shown) in table {
        assert_eq!(mask_text(spec(class, mask, ends.0, ends.1), value, None), *shown, "{value}");
    }
}

#[track_caller]
fn partial(class: Class, table: &[(&str, &str)]) {
    shows(class, Mask::Partial, (None, None), table);
}

#[test]
fn id_card() {
    partial(
        Class::IdCard,
        &[
            ("32050220100307123X", "3205****"),
            ("32050220100307123x", "3205****"),
            ("320502800307123", "3205****"),
            ("３２０５０２２０１００３０７１２３Ｘ", "3205****"),
            ("320502 20100307 123X", "3205****"),
            ("810000199001011239", "8100****"),
            ("830000199001011239", "8300****"),
            // Wrong check character: somebody's all the same.
            ("320502201003071230", "3205****"),
            ("E12345678", "***"),
            ("32050220100307123", "***"),
            ("3205022010030712X3", "***"),
            ("020502201003071234", "***"),
            ("320502201003071234567", "***"),
        ],
    );
    // The form of the manual: SUBSTRING(id_card, 1, 6) || '****' || SUBSTRING(id_card, 15, 4).
    shows(
        Class::IdCard,
        Mask::Partial,
        (Some(6), Some(4)),
        &[("320502201003071234", "320502****1234"), ("320502800307123", "320502****7123")],
    );
    shows(Class::IdCard, Mask::Partial, (Some(14), Some(4)), &[("320502201003071234", "***")]);
    shows(Class::IdCard, Mask::Generalize, (Some(6), Some(4)), &[("320502201003071234", "3205****")]);
    shows(Class::IdCard, Mask::Hide, (None, None), &[("320502201003071234", "***")]);
}

#[test]
fn check_characters_of_id_cards() {
    // Published examples.
    for valid in ["11010519491231002X", "440524188001010014", "34052419800101001X", "11010519491231002x"] {
        assert!(id_card::is_valid(valid), "{valid}");
    }
    assert!(id_card::is_valid("110105491231002"));
    for invalid in ["110105194912310021", "11010519490231002X", "110105491331002", "11010519491231002", "", "x"] {
        assert!(!id_card::is_valid(invalid), "{invalid}");
    }
    assert_eq!(id_card::check_character("11010519491231002"), Some('X'));
    assert_eq!(id_card::check_character("1101051949123100"), None);
}

#[test]
fn phone() {
    partial(
        Class::Phone,
        &[
            ("13800000007", "138****0007"),
            ("138 0000 0007", "138****0007"),
            ("138-0000-0007", "138****0007"),
            ("+8613800000007", "138****0007"),
            ("+86 138 0000 0007", "138****0007"),
            ("008613800000007", "138****0007"),
            ("8613800000007", "138****0007"),
            ("013800000007", "138****0007"),
            ("１３８００００１２３４", "138****1234"),
            ("(+86)13800000007", "138****0007"),
            ("0512-65123456", "0512****"),
            ("(0512)65123456", "0512****"),
            ("051265123456", "0512****"),
            ("+86 512 65123456", "0512****"),
            ("+86 10 65123456", "010****"),
            ("010-65123456", "010****"),
            ("021-65123456转8001", "021****"),
            ("0512-65123456-8001", "0512****"),
            ("0512-65123456 分机 8001", "0512****"),
            ("0512-65123456 ext. 8001", "0512****"),
            ("0512-65123456x8001", "0512****"),
            ("400-820-8820", "400****"),
            ("8008208820", "800****"),
            ("65123456", "****"),
            ("13800000007/13987654321", "138****0007/139****4321"),
            ("13800000007，0512-65123456", "138****0007/0512****"),
            ("13800000007 13987654321", "138****0007/139****4321"),
            ("13800000007、张三", "138****0007/***"),
            // No mobile number begins so, and other countries' do not parse.
            ("12800000007", "***"),
            ("1380000000", "***"),
            ("138000000071", "***"),
            ("+1 415 555 2671", "***"),
            ("+852 2345 6789", "***"),
            ("110", "***"),
            ("电话13800000007", "***"),
            ("138****0007", "***"),
        ],
    );
    shows(Class::Phone, Mask::Partial, (Some(3), Some(0)), &[("13800000007", "138****"), ("0512-65123456", "051****")]);
    shows(Class::Phone, Mask::Partial, (Some(7), Some(4)), &[("13800000007", "***")]);
    shows(Class::Phone, Mask::Partial, (None, Some(2)), &[("13800000007", "138****07")]);
    shows(Class::Phone, Mask::Generalize, (None, None), &[("13800000007", "***"), ("0512-65123456", "0512****")]);
}

#[test]
fn passport() {
    partial(
        Class::Passport,
        &[
            ("E12345678", "E****"),
            ("EA1234567", "E****"),
            ("g12345678", "G****"),
            ("ＥＡ１２３４５６７", "E****"),
            ("DE1234567", "D****"),
            // To Hong Kong and Macao, to Taiwan, and of residents there.
            ("C12345678", "C****"),
            ("CA 1234567", "C****"),
            ("W12345678", "W****"),
            ("T12345678", "T****"),
            ("H1234567801", "H****"),
            ("M12345678", "M****"),
            ("E1234567", "***"),
            ("E123456789", "***"),
            ("EAB123456", "***"),
            ("H123456789", "***"),
            ("HA2345678", "***"),
            ("123456789", "***"),
            ("X12345678", "***"),
            ("E12345678号", "***"),
        ],
    );
    shows(
        Class::Passport,
        Mask::Partial,
        (Some(1), Some(4)),
        &[("E12345678", "E****5678"), ("EA123 4567", "E****4567")],
    );
    shows(Class::Passport, Mask::Partial, (Some(2), Some(4)), &[("E12345678", "***")]);
    shows(Class::Passport, Mask::Generalize, (None, Some(4)), &[("E12345678", "E****")]);
    let token = |value| mask_text(spec(Class::Passport, Mask::Pseudonym, None, None), value, Some(&key()));
    assert_eq!(token("ea 1234567"), token("EA1234567"), "one number");
}

#[test]
fn name() {
    partial(
        Class::Name,
        &[
            ("张三", "张**"),
            ("王小明", "王**"),
            ("欧阳娜娜", "欧阳**"),
            ("司马懿", "司马**"),
            ("諸葛亮", "諸葛**"),
            ("上官", "上**"),
            ("阿卜杜拉·买买提", "阿**"),
            ("张 三", "张**"),
            (" 张三 ", "张**"),
            ("John Smith", "J**"),
            ("O'Neil", "O**"),
            ("李", "***"),
            ("张三13800000007", "***"),
            ("student 7", "***"),
            ("张**", "***"),
            ("😀😀", "***"),
        ],
    );
    shows(
        Class::Name,
        Mask::Partial,
        (Some(1), Some(1)),
        &[("王小伟", "王**伟"), ("王伟", "王**"), ("欧阳娜娜", "欧**娜")],
    );
    shows(Class::Name, Mask::Partial, (Some(64), Some(64)), &[("王小伟", "王小**"), ("王伟", "王**")]);
    shows(Class::Name, Mask::Generalize, (None, None), &[("王小伟", "***")]);
}

#[test]
fn address() {
    partial(
        Class::Address,
        &[
            ("江苏省苏州市姑苏区观前街100号", "江苏省苏州市姑苏区****"),
            ("江苏省苏州市昆山市玉山镇前进中路8号", "江苏省苏州市昆山市****"),
            ("江苏 苏州市 姑苏区 观前街100号", "江苏苏州市姑苏区****"),
            ("中国江苏省苏州市观前街88号花园小区3栋", "江苏省苏州市****"),
            ("江苏省苏州市花园小区3栋", "江苏省苏州市****"),
            ("江苏省苏州市工业园区星湖街328号", "江苏省苏州市工业园区****"),
            ("苏州市姑苏区观前街100号", "苏州市姑苏区****"),
            ("姑苏区观前街100号", "姑苏区****"),
            ("北京市朝阳区建国路1号", "北京市朝阳区****"),
            ("北京市北京市朝阳区建国路1号", "北京市朝阳区****"),
            ("上海市市辖区浦东新区世纪大道1号", "上海市浦东新区****"),
            ("重庆市云阳县双江街道", "重庆市云阳县****"),
            ("广东省东莞市南城街道鸿福路1号", "广东省东莞市****"),
            ("内蒙古自治区锡林郭勒盟苏尼特左旗满都拉图镇", "内蒙古自治区锡林郭勒盟苏尼特左旗****"),
            ("云南省西双版纳傣族自治州景洪市允景洪街道", "云南省西双版纳傣族自治州景洪市****"),
            ("四川省甘孜藏族自治州康定市", "四川省甘孜藏族自治州康定市****"),
            ("新疆维吾尔自治区伊犁哈萨克自治州伊宁市解放路", "新疆维吾尔自治区伊犁哈萨克自治州伊宁市****"),
            ("新疆生产建设兵团第八师石河子市北四路", "新疆生产建设兵团第八师石河子市****"),
            ("湖北省仙桃市干河街道", "湖北省仙桃市****"),
            ("吉林省吉林市船营区解放中路", "吉林省吉林市船营区****"),
            ("吉林市船营区解放中路", "吉林市船营区****"),
            ("海南藏族自治州共和县", "海南藏族自治州共和县****"),
            ("河北省唐山市路南区新华道1号", "河北省唐山市路南区****"),
            ("江苏省苏州市平江区干将东路", "江苏省苏州市平江区****"),
            ("香港特别行政区中西区皇后大道中1号", "香港特别行政区中西区****"),
            ("江苏省", "江苏省****"),
            ("观前街100号", "***"),
            ("No. 1, Guanqian Street", "***"),
            ("张三13800000007", "***"),
        ],
    );
    let whole = "江苏省苏州市姑苏区观前街100号";
    for (levels, shown) in [(0, "***"), (1, "江苏省****"), (2, "江苏省苏州市****"), (9, "江苏省苏州市姑苏区****")]
    {
        shows(Class::Address, Mask::Partial, (Some(levels), None), &[(whole, shown)]);
    }
    let regulator = [
        (whole, "江苏省苏州市****"),
        ("北京市朝阳区建国路1号", "北京市****"),
        ("湖北省仙桃市干河街道", "湖北省仙桃市****"),
        ("姑苏区观前街100号", "***"),
    ];
    shows(Class::Address, Mask::Generalize, (Some(3), None), &regulator);
    for list in address::lists() {
        assert!(list.split_whitespace().count() > 300);
        assert!(
            list.split_whitespace().all(|name| name.ends_with(['市', '区', '县', '旗', '州', '盟'])),
            "the look-up needs it"
        );
    }
}

#[test]
fn bank_card() {
    partial(
        Class::BankCard,
        &[
            ("6222021234567890123", "622202****0123"),
            ("6222 0212 3456 7890", "622202****7890"),
            ("6222-0212-3456-7890", "622202****7890"),
            ("622202123456789", "62220****6789"),
            ("6222021234567", "622****4567"),
            ("622202123456", "***"),
            ("62220212345678901234", "***"),
            ("6222x02123456789", "***"),
        ],
    );
    shows(Class::BankCard, Mask::Partial, (Some(64), Some(64)), &[("6222021234567", "622****4567")]);
    shows(Class::BankCard, Mask::Partial, (Some(0), Some(4)), &[("6222021234567890", "****7890")]);
    shows(Class::BankCard, Mask::Generalize, (None, None), &[("6222021234567890", "***")]);
}

#[test]
fn email() {
    partial(
        Class::Email,
        &[
            ("zhangsan@example.com", "z***@example.com"),
            ("z@example.com", "***@example.com"),
            ("12345678@qq.com", "***@qq.com"),
            ("zhang123456@qq.com", "***@qq.com"),
            ("张三@example.com", "张***@example.com"),
            ("zhangsan@例子.中国", "z***@例子.中国"),
            ("zhangsan@zhangsan.com", "z***@***"),
            ("zhangsan01@zhangsan.com", "z***@***"),
            ("x@13800000007.com", "***@***"),
            ("zhangsan@163.com", "z***@163.com"),
            ("zhangsan", "***"),
            ("zhangsan@example", "***"),
            ("@example.com", "***"),
            ("a b@example.com", "***"),
            ("<zhangsan@example.com>", "***"),
        ],
    );
    let hidden_domain = [("zhangsan@example.com", "z***@***")];
    shows(Class::Email, Mask::Partial, (None, Some(0)), &hidden_domain);
    shows(Class::Email, Mask::Partial, (Some(64), None), &[("zhangsan@example.com", "zhan***@example.com")]);
    shows(Class::Email, Mask::Generalize, (None, None), &[("zhangsan@example.com", "***@example.com")]);
}

#[test]
fn guardian() {
    partial(
        Class::Guardian,
        &[
            ("父:13800000007", "父:138****0007"),
            ("父亲：张三 13800000007", "父亲：张** 138****0007"),
            ("父亲张三，13800000007；母亲李四，0512-65123456", "父亲张**，138****0007；母亲李**，0512****"),
            ("张三（父亲）138 0000 0007", "张**（父亲）138****0007"),
            ("张三(父亲)138 0000 0007", "张**(父亲)138****0007"),
            ("姓名:张三 身份证:32050220100307123X", "姓名:张** 身份证:3205****"),
            ("Father John 13800000007", "Father J** 138****0007"),
            ("请在下午联系13800000007", "***138****0007"),
            ("3班 张三", "****** 张**"),
            ("zhang@example.com", "***"),
            ("父亲", "***"),
            ("😀13800000007", "***"),
            ("----", "***"),
        ],
    );
    shows(Class::Guardian, Mask::Generalize, (None, None), &[("父:13800000007", "***")]);
}

#[test]
fn json() {
    let guardian = spec(Class::Guardian, Mask::Partial, None, None);
    let table = [
        (
            r#"{"name":"张三","phone":"13800000007","relation":"父亲","note":null,"primary":true}"#,
            r#"{"name":"张**","note":null,"phone":"138****0007","primary":null,"relation":"父亲"}"#,
        ),
        (r#"[{"姓名":"张三","电话":[13800000007]}]"#, r#"[{"姓名":"张**","电话":["138****0007"]}]"#),
        (r#"{"张三":"13800000007"}"#, r#"{"张**":"138****0007"}"#),
        (r#"{"13800000007":1}"#, r#"{"138****0007":"***"}"#),
        (r#""父:13800000007""#, r#""父:138****0007""#),
        ("{", r#""***""#),
    ];
    for (value, shown) in table {
        assert_eq!(mask_json(guardian, value, None), shown.replace("\"relation\":\"父亲\"", "\"relation\":\"***\""));
    }
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    assert_eq!(mask_json(guardian, &deep, None), r#""***""#);
    let phone = spec(Class::Phone, Mask::Partial, None, None);
    assert_eq!(mask_json(phone, r#"{"a":["13800000007"]}"#, None), r#"{"a":["138****0007"]}"#);
    assert_eq!(mask_json(spec(Class::Phone, Mask::Hide, None, None), r#"{"a":1}"#, None), r#""***""#);
    let none = spec(Class::Phone, Mask::None, None, None);
    assert_eq!(mask_json(none, r#"{"a": 1}"#, None), r#"{"a": 1}"#);
}

#[test]
fn birth_date() {
    partial(
        Class::BirthDate,
        &[
            ("2010-03-07", "2010"),
            ("2010/3/7", "2010"),
            ("2010.03.07", "2010"),
            ("20100307", "2010"),
            ("2010年3月7日", "2010"),
            ("2010-03-07 08:00:00", "2010"),
            ("2010-03-07T08:00", "2010"),
            ("2010-02-30", "***"),
            ("2010-13-01", "***"),
            ("2010", "***"),
            ("0000-00-00", "***"),
            ("7 March 2010", "***"),
        ],
    );
    let school_years = [("2010-03-07", "2009/2010"), ("2010-08-31", "2009/2010"), ("2010-09-01", "2010/2011")];
    shows(Class::BirthDate, Mask::Generalize, (None, None), &school_years);
}

/// Days since 2000-01-01.
#[test]
fn dates_keep_their_type() {
    let of = |mask, days| birth_date::mask_days(spec(Class::BirthDate, mask, None, None), days);
    // 2010-03-07 → 2010-01-01, 2009-09-01; 2000-02-29 → 2000-01-01, 1999-09-01; 1900-01-01 → 1899-09-01.
    assert_eq!((of(Mask::Partial, 3718), of(Mask::Generalize, 3718)), (Some(3653), Some(3531)));
    assert_eq!((of(Mask::Partial, 59), of(Mask::Generalize, 59)), (Some(0), Some(-122)));
    assert_eq!((of(Mask::Partial, -36_524), of(Mask::Generalize, -36_524)), (Some(-36_524), Some(-36_646)));
    for infinite in [i32::MIN, i32::MAX] {
        assert_eq!(of(Mask::Partial, infinite), None);
    }
    assert_eq!(of(Mask::Hide, 59), None);
    assert_eq!(birth_date::mask_days(spec(Class::Phone, Mask::Partial, None, None), 59), None);
}

#[test]
fn bands() {
    partial(
        Class::Score,
        &[
            ("85", "80-89"),
            ("85.5", "80-89"),
            ("7", "0-9"),
            ("13800000007", "***"),
            ("100", "100-109"),
            ("A", "***"),
            ("", "***"),
        ],
    );
    shows(Class::Score, Mask::Generalize, (None, None), &[("85", "80-99")]);
    partial(
        Class::Amount,
        &[("1234.56", "1000-1999"), ("15", "10-19"), ("5", "0-9"), ("0", "0-9"), ("-15", "***"), ("1e5", "***")],
    );
    shows(Class::Amount, Mask::Partial, (Some(2), None), &[("1234.56", "1200-1299"), ("15", "10-19")]);
    shows(Class::Amount, Mask::Generalize, (None, None), &[("1234.56", "1000-9999"), ("5", "0-9")]);
    let amount = spec(Class::Amount, Mask::Partial, None, None);
    assert_eq!(band::mask_integer(amount, -1234), Some(-1000));
    assert_eq!(band::mask_integer(amount, i64::MIN), Some(-9_000_000_000_000_000_000));
    assert_eq!(band::mask_decimal(amount, "NaN"), None);
    assert_eq!(band::mask_decimal(amount, "-0.5"), Some(0));
    assert_eq!(band::mask_integer(spec(Class::Phone, Mask::Partial, None, None), 13_800_000_007), None);
}

#[test]
fn other_classes_show_nothing_unless_ends_are_given() {
    partial(Class::Other, &[("苏E12345", "***")]);
    partial(Class::Photo, &[("photo", "***")]);
    shows(Class::Other, Mask::Partial, (Some(2), None), &[("苏E123", "***"), ("苏E12345", "苏E****")]);
    shows(Class::Other, Mask::Partial, (Some(2), Some(1)), &[("ABCDEFGH", "AB****H"), ("AB", "***")]);
    assert_eq!(Class::from_name("student_no"), Class::Other);
    assert_eq!(Class::from_name("guardian_contact"), Class::Guardian);
}

#[test]
fn tokens() {
    let key = key();
    let of = |class, mask, value: &str| mask_text(spec(class, mask, None, None), value, Some(&key));
    let pseudonym = of(Class::FreeId, Mask::Pseudonym, "S20100307");
    assert!(pseudonym.len() == 16 && pseudonym.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7')));
    assert_eq!(pseudonym, of(Class::FreeId, Mask::Pseudonym, " S20100307 "), "the same value has one");
    assert_eq!(pseudonym, of(Class::FreeId, Mask::Partial, "S20100307"), "what the class shows");
    assert_ne!(pseudonym, of(Class::FreeId, Mask::Pseudonym, "S20100308"));
    assert_ne!(pseudonym, of(Class::Other, Mask::Pseudonym, "S20100307"), "classes differ");
    let hash = of(Class::Phone, Mask::Hash, "13800000007");
    assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(hash, of(Class::Phone, Mask::Hash, "+86 138-0000-0007"), "one number");
    let x = of(Class::IdCard, Mask::Hash, "32050220100307123x");
    assert_eq!(x, of(Class::IdCard, Mask::Hash, "３２０５０２ 20100307 123X"));
    let other = Key::derive(&[8; 32]).expect("a key");
    assert_ne!(hash, mask_text(spec(Class::Phone, Mask::Hash, None, None), "13800000007", Some(&other)));
}

/// HMAC-SHA-256 by another implementation (Python's hmac).
#[test]
fn tokens_are_what_the_documentation_says() {
    let hash = mask_text(spec(Class::Phone, Mask::Hash, None, None), "13800000007", Some(&key()));
    assert_eq!(hash, "21c07f316ec1febaa3be657c2feac6d915089ea5abcd9e76c79ab52927749901");
    let pseudonym = mask_text(spec(Class::FreeId, Mask::Pseudonym, None, None), "S1", Some(&key()));
    assert_eq!(pseudonym, "pu4ksniul6ykfqng");
}

/// The blocks that a key is are worked off once; what follows is any length around the blocks of SHA-256.
#[test]
fn tokens_are_hmac_of_values_of_every_length() {
    use hmac::{Hmac, Mac};
    let hmac = |key: &[u8], parts: &[&str]| -> Vec<u8> {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).expect("a key");
        parts.iter().for_each(|part| mac.update(part.as_bytes()));
        mac.finalize().into_bytes().to_vec()
    };
    let derived = hmac(&[7; 32], &["pg_steward mask\0"]);
    for class in [Class::Other].into_iter().chain(Class::KNOWN) {
        for value in (0..=200).map(|length| "x".repeat(length)) {
            let expected = hmac(&derived, &[class.name(), "\0hash\0", &value]);
            let expected: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(
                mask_text(spec(class, Mask::Hash, None, None), &value, Some(&key())),
                expected,
                "{}",
                value.len()
            );
        }
    }
}

#[test]
fn tokens_of_numbers_and_uuids() {
    let free_id = spec(Class::FreeId, Mask::Partial, None, None);
    let number = token::mask_integer(free_id, 42, Some(&key())).expect("a token");
    assert!(number > 0 && number != 42);
    assert_eq!(token::mask_integer(free_id, 42, None), None);
    assert_eq!(token::mask_integer(spec(Class::FreeId, Mask::Hide, None, None), 42, Some(&key())), None);
    let uuid = token::mask_uuid(free_id, &[1; 16], Some(&key())).expect("a token");
    assert_eq!((uuid[6] >> 4, uuid[8] >> 6), (8, 2));
}

#[test]
fn specs_are_numbers() {
    for class in [Class::Other].into_iter().chain(Class::KNOWN) {
        assert_eq!(Class::from_name(class.name()), class);
        for mask in Mask::ALL {
            assert_eq!(Mask::from_name(mask.name()), Some(mask));
            for end in [None, Some(0), Some(64)] {
                let spec = spec(class, mask, end, None);
                assert_eq!(Spec::from_i64(spec.to_i64()), Some(spec));
            }
        }
    }
    assert_eq!(spec(Class::IdCard, Mask::Partial, Some(6), Some(4)).to_string(), "id_card partial 6+4");
    assert_eq!(spec(Class::Phone, Mask::Hide, None, None).to_string(), "phone hide");
    assert!(Spec::new(Class::Phone, Mask::Partial, Some(65), None).is_none());
    assert!(Spec::new(Class::Phone, Mask::Partial, None, Some(-1)).is_none());
    assert!(Mask::None < Mask::Partial && Mask::Partial < Mask::Generalize && Mask::Hash < Mask::Hide);
}
