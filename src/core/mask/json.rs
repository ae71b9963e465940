//! Masks inside JSON: its shape stays, each value in it is masked. In the class `guardian` the key of a field says how:
//! name, telephone, identity number, address; everywhere else the class of the column does. Numbers become texts, booleans
//! null. Keys that hold data themselves (`{"张三": "138…"}`) are masked like a guardian's text.

use super::{Class, HIDDEN, Key, Mask, Spec, mask_text};
use serde_json::{Map, Value};

/// Longer is no key but data.
const LONGEST_KEY: usize = 32;

/// The mask of a JSON text; `"***"` for one that does not parse or is nested too deeply.
pub fn mask_json(spec: Spec, text: &str, key: Option<&Key>) -> String {
    let masked = match spec.mask {
        Mask::None => return text.to_owned(),
        Mask::Hide => None,
        _ => serde_json::from_str(text).ok().map(|value| mask(spec, value, key)),
    };
    masked.unwrap_or_else(|| Value::from(HIDDEN)).to_string()
}

fn mask(spec: Spec, value: Value, key: Option<&Key>) -> Value {
    match value {
        Value::Null | Value::Bool(_) => Value::Null,
        Value::Number(number) => mask_text(spec, &number.to_string(), key).into(),
        Value::String(text) => mask_text(spec, &text, key).into(),
        Value::Array(values) => values.into_iter().map(|value| mask(spec, value, key)).collect(),
        Value::Object(fields) => Value::Object(fields.into_iter().fold(Map::new(), |mut masked, (name, value)| {
            let value = mask(Spec { class: class_of_field(spec.class, &name), ..spec }, value, key);
            masked.insert(shown_key(name), value);
            masked
        })),
    }
}

/// What a field of a guardian is, by its key.
fn class_of_field(class: Class, name: &str) -> Class {
    const FIELDS: [(&[&str], Class); 6] = [
        (&["phone", "mobile", "tel", "电话", "手机"], Class::Phone),
        (&["id_card", "idcard", "id_no", "身份证", "证件"], Class::IdCard),
        (&["email", "mail", "邮箱"], Class::Email),
        (&["address", "addr", "地址", "住址"], Class::Address),
        (&["birth", "生日", "出生"], Class::BirthDate),
        (&["name", "姓名", "名字"], Class::Name),
    ];
    if class != Class::Guardian {
        return class;
    }
    let name = name.to_lowercase();
    let field = FIELDS.into_iter().find(|(words, _)| words.iter().any(|word| name.contains(word)));
    field.map_or(Class::Guardian, |(_, class)| class)
}

/// A key that is the name of a field is kept.
fn shown_key(name: String) -> String {
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if name.len() <= LONGEST_KEY && digits <= 2 && name.bytes().all(letters) {
        return name;
    }
    super::guardian::key(&name)
}
