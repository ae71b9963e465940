//! Which objects a script can reach: those whose names occur in it, in what these say, and so on. Bodies of functions are
//! text that only runs decide about, so names are taken for references: too many objects are found rather than too few.
//! A name that is spelt with escapes (`U&"…"`) could be any, so what holds one reaches everything.

use std::collections::HashMap;

/// Something that other texts can mention.
pub struct Object {
    /// Without its schema; empty for what is reached without being named.
    pub name: String,
    /// What it consists of, names of others included.
    pub text: String,
}

/// The objects that a script reaches, as ascending indexes.
pub fn reached(script: &str, objects: &[Object]) -> Vec<usize> {
    let names = Names::of(objects);
    let mut found = vec![false; objects.len()];
    let mut unread: Vec<&str> = vec![script];
    let unnamed = |index: &usize| objects[*index].name.is_empty();
    for index in (0..objects.len()).filter(unnamed) {
        found[index] = true;
        unread.push(&objects[index].text);
    }
    while let Some(text) = unread.pop() {
        for index in names.mentioned(text) {
            if !std::mem::replace(&mut found[index], true) {
                unread.push(&objects[index].text);
            }
        }
    }
    (0..objects.len()).filter(|index| found[*index]).collect()
}

/// Names without regard to case, which quotes may or may not matter for.
struct Names {
    words: HashMap<String, Vec<usize>>,
    /// Names that are no single word.
    odd: Vec<(String, usize)>,
}

impl Names {
    fn of(objects: &[Object]) -> Names {
        let mut names = Names { words: HashMap::new(), odd: Vec::new() };
        for (index, object) in objects.iter().enumerate().filter(|(_, object)| !object.name.is_empty()) {
            let name = object.name.to_lowercase();
            if name.chars().all(is_part_of_a_word) {
                names.words.entry(name).or_default().push(index);
            } else {
                // A quote in a quoted name is written twice.
                names.odd.push((name.replace('"', "\"\""), index));
            }
        }
        names
    }

    fn mentioned(&self, text: &str) -> Vec<usize> {
        let text = text.to_lowercase();
        if text.contains("u&\"") {
            return self.words.values().flatten().copied().chain(self.odd.iter().map(|(_, index)| *index)).collect();
        }
        let words = text.split(|character| !is_part_of_a_word(character)).filter(|word| !word.is_empty());
        let mut found: Vec<usize> = words.filter_map(|word| self.words.get(word)).flatten().copied().collect();
        found.extend(self.odd.iter().filter(|(name, _)| text.contains(name)).map(|(_, index)| *index));
        found
    }
}

fn is_part_of_a_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '$'
}
