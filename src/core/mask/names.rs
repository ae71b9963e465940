//! Fixed lists of names, found at the beginning of a text. A list is a tree of characters, whose steps lie in one table by
//! the hash of node and character: a look-up takes as many steps as the text shares with a name, compares no texts and
//! allocates nothing.

/// A list of names.
pub struct Names {
    /// Half of the places at least are free.
    steps: Vec<Step>,
}

/// From a node of the tree by a character to the next node.
#[derive(Clone, Copy, Default)]
struct Step {
    /// The node, and the character in the lower half.
    from_by: u32,
    /// Nodes count from 1, the beginning of all names is 0; 0 here: the place is free.
    to: u16,
    /// Whether a name ends here.
    ends: bool,
}

impl Names {
    /// Names in any order, of characters below U+10000; as many as have nodes with numbers of 16 bits.
    pub fn of(names: impl IntoIterator<Item: AsRef<str>>) -> Names {
        let names: Vec<_> = names.into_iter().collect();
        let most: usize = names.iter().map(|name| name.as_ref().chars().count()).sum();
        let mut list = Names { steps: vec![Step::default(); (2 * most).next_power_of_two().max(2)] };
        let mut nodes = 0;
        for name in names {
            list.add(name.as_ref(), &mut nodes);
        }
        list
    }

    fn add(&mut self, name: &str, nodes: &mut u16) -> Option<()> {
        let (mut node, mut last) = (0, None);
        for character in name.chars() {
            let from_by = step_of(node, character)?;
            let place = self.place(from_by);
            if self.steps[place].to == 0 {
                *nodes = nodes.checked_add(1)?;
                self.steps[place] = Step { from_by, to: *nodes, ends: false };
            }
            (node, last) = (self.steps[place].to, Some(place));
        }
        self.steps[last?].ends = true;
        Some(())
    }

    /// How many bytes at the beginning of a text are a name: the longest one.
    pub fn at_start(&self, text: &str) -> Option<usize> {
        let (mut node, mut length, mut found) = (0, 0, None);
        for character in text.chars() {
            let Some(from_by) = step_of(node, character) else { break };
            let step = self.steps[self.place(from_by)];
            if step.to == 0 {
                break;
            }
            node = step.to;
            length += character.len_utf8();
            if step.ends {
                found = Some(length);
            }
        }
        found
    }

    pub fn contains(&self, text: &str) -> bool {
        self.at_start(text) == Some(text.len())
    }

    /// Where a step is, or the free place where it would be.
    fn place(&self, from_by: u32) -> usize {
        let last = self.steps.len() - 1;
        let mut place = (u64::from(from_by).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize & last;
        while self.steps[place].to != 0 && self.steps[place].from_by != from_by {
            place = (place + 1) & last;
        }
        place
    }
}

fn step_of(node: u16, character: char) -> Option<u32> {
    u16::try_from(u32::from(character)).ok().map(|character| u32::from(node) << 16 | u32::from(character))
}
