//! Values of scopes as texts: how they are written in an array literal, and which are values of a type.

/// An array literal of these texts.
pub fn literal(values: &[String]) -> String {
    let mut text = String::from("{");
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push('"');
        for character in value.chars() {
            if matches!(character, '"' | '\\') {
                text.push('\\');
            }
            text.push(character);
        }
        text.push('"');
    }
    text.push('}');
    text
}

/// The bytes of a UUID: 32 hexadecimal digits, with hyphens anywhere between them.
pub fn uuid(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|character| *character != '-')
        .map(|digit| digit.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    if digits.len() == 32 { bytes.try_into().ok() } else { None }
}

/// Whether a text is a value of a type: smallint, integer, bigint, uuid, text or bpchar; of no other type any is.
pub fn is_value_of(type_name: &str, value: &str) -> bool {
    match type_name {
        "smallint" => value.parse::<i16>().is_ok(),
        "integer" => value.parse::<i32>().is_ok(),
        "bigint" => value.parse::<i64>().is_ok(),
        "uuid" => uuid(value).is_some(),
        "text" | "bpchar" => !value.contains('\0'),
        _ => false,
    }
}

/// Whether two texts are the same value of the types that scopes compare: numbers by their value, texts without blanks at
/// the end, as char(n) pads them.
pub fn same_value(one: &str, other: &str) -> bool {
    let number = |text: &str| text.parse::<i64>().ok();
    one == other
        || one.trim_end_matches(' ') == other.trim_end_matches(' ')
        || number(one).is_some_and(|one| number(other) == Some(one))
        || uuid(one).is_some_and(|one| uuid(other) == Some(one))
}
