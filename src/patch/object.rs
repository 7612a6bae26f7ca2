//! The members of an object in their order, found by name.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;

use super::node::Node;

/// Up to how many members there is no index: they are compared one by one.
const MOST_WITHOUT_INDEX: usize = 16;

/// Members keep their place while others come and go. New ones come last.
#[derive(Debug)]
pub struct Object<'a> {
    /// Where a member was removed, a gap stays until there are more gaps than members.
    members: Vec<Option<Member<'a>>>,
    length: usize,
    index: Option<Box<Index>>,
    /// See [`Node::height`].
    pub height: usize,
}

/// A member of an object.
#[derive(Debug, Clone)]
pub struct Member<'a> {
    /// As it stands between quotes in compact JSON.
    pub name: Cow<'a, str>,
    /// Its value.
    pub node: Node<'a>,
}

/// Where each name stands. The names come from anybody, so the hashes are not to be foreseen.
#[derive(Debug, Clone)]
struct Index {
    positions: HashTable<usize>,
    hasher: RandomState,
}

impl<'a> Object<'a> {
    pub fn with_capacity(members: usize) -> Self {
        Self {
            members: Vec::with_capacity(members),
            length: 0,
            index: None,
            height: 1,
        }
    }

    pub fn len(&self) -> usize {
        self.length
    }

    pub fn iter(&self) -> impl Iterator<Item = &Member<'a>> {
        self.members.iter().flatten()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member<'a>> {
        self.members.iter_mut().flatten()
    }

    pub fn into_members(self) -> impl Iterator<Item = Member<'a>> {
        self.members.into_iter().flatten()
    }

    pub fn get(&self, name: &str) -> Option<&Node<'a>> {
        let position = self.position(name)?;
        self.members[position].as_ref().map(|member| &member.node)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Node<'a>> {
        let position = self.position(name)?;
        let member = self.members[position].as_mut();
        member.map(|member| &mut member.node)
    }

    /// Puts a member in the place of the one with its name, or last.
    pub fn insert(&mut self, name: Cow<'a, str>, node: Node<'a>) {
        if let Some(there) = self.get_mut(&name) {
            *there = node;
            return;
        }
        self.members.push(Some(Member { name, node }));
        self.length += 1;
        match &mut self.index {
            Some(index) => index.add(&self.members, self.members.len() - 1),
            None if self.members.len() > MOST_WITHOUT_INDEX => self.build_index(),
            None => {}
        }
    }

    pub fn remove(&mut self, name: &str) -> Option<Node<'a>> {
        let position = self.position(name)?;
        if let Some(index) = &mut self.index {
            let hash = index.hasher.hash_one(name);
            let entry = index.positions.find_entry(hash, |there| *there == position);
            if let Ok(entry) = entry {
                entry.remove();
            }
        }
        let member = self.members[position].take()?;
        self.length -= 1;
        if self.members.len() - self.length > self.length + MOST_WITHOUT_INDEX {
            self.members.retain(Option::is_some);
            self.build_index();
        }
        Some(member.node)
    }

    fn position(&self, name: &str) -> Option<usize> {
        match &self.index {
            Some(index) => {
                let hash = index.hasher.hash_one(name);
                let is_here = |position: &usize| name_at(&self.members, *position) == Some(name);
                index.positions.find(hash, is_here).copied()
            }
            None => (0..self.members.len())
                .find(|position| name_at(&self.members, *position) == Some(name)),
        }
    }

    fn build_index(&mut self) {
        self.index = None;
        if self.members.len() > MOST_WITHOUT_INDEX {
            let mut index = Box::new(Index {
                positions: HashTable::with_capacity(self.members.capacity()),
                hasher: RandomState::new(),
            });
            for position in 0..self.members.len() {
                index.add(&self.members, position);
            }
            self.index = Some(index);
        }
    }
}

impl Clone for Object<'_> {
    /// Without the gaps: a copy costs no more than what is in it.
    fn clone(&self) -> Self {
        let mut members = Vec::with_capacity(self.length);
        members.extend(self.iter().cloned().map(Some));
        let mut copy = Self {
            members,
            length: self.length,
            index: None,
            height: self.height,
        };
        copy.build_index();
        copy
    }
}

impl Index {
    /// Takes up the member at a position, whose name is not in it yet.
    fn add(&mut self, members: &[Option<Member>], position: usize) {
        let hasher = &self.hasher;
        let hash = |position: &usize| hasher.hash_one(name_at(members, *position).unwrap_or(""));
        if members[position].is_some() {
            self.positions
                .insert_unique(hash(&position), position, hash);
        }
    }
}

fn name_at<'m>(members: &'m [Option<Member>], position: usize) -> Option<&'m str> {
    members[position].as_ref().map(|member| &*member.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(number: usize) -> Node<'static> {
        Node::Text(Cow::Owned(number.to_string()))
    }

    proptest! {
        #[test]
        fn members_keep_their_place_and_new_ones_come_last(
            changes in prop::collection::vec((0..3_u8, 0..60_u8), 0..500),
        ) {
            let mut expected: Vec<(String, String)> = Vec::new();
            let mut object = Object::with_capacity(0);
            for (number, (kind, name)) in changes.into_iter().enumerate() {
                let name = name.to_string();
                let place = expected.iter().position(|(there, _)| *there == name);
                if kind > 0 {
                    match place {
                        Some(place) => expected[place].1 = number.to_string(),
                        None => expected.push((name.clone(), number.to_string())),
                    }
                    object.insert(Cow::Owned(name), node(number));
                } else {
                    let removed = place.map(|place| expected.remove(place).1);
                    let found = object.remove(&name).map(|node| format!("{node:?}"));
                    prop_assert_eq!(found, removed.map(|text| format!("Text({text:?})")));
                }
                prop_assert_eq!(object.len(), expected.len());
                prop_assert!(object.members.len() <= 2 * expected.len() + MOST_WITHOUT_INDEX + 1);
            }
            for object in [object.clone(), object] {
                let found: Vec<_> = object.iter().map(|member| member.name.to_string()).collect();
                let names: Vec<_> = expected.iter().map(|(name, _)| name.clone()).collect();
                prop_assert_eq!(found, names);
                for (name, text) in &expected {
                    let found = format!("{:?}", object.get(name).unwrap());
                    prop_assert_eq!(found, format!("Text({text:?})"));
                }
            }
        }
    }
}
