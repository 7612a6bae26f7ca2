//! The members of an object in their order, found by name, whatever their values are.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;

/// Up to how many members there is no index: they are compared one by one.
const MOST_WITHOUT_INDEX: usize = 16;

/// Members keep their place while others are added and removed. New ones come last.
#[derive(Debug)]
pub struct Members<'a, T> {
    /// Where a member was removed, a gap stays until there are more gaps than members.
    slots: Vec<Option<Member<'a, T>>>,
    length: usize,
    index: Option<Box<Index>>,
}

/// A member of an object.
#[derive(Debug, Clone)]
pub struct Member<'a, T> {
    /// What is between the quotes in compact JSON.
    pub name: Cow<'a, str>,
    /// Its value.
    pub value: T,
}

/// Where each name is. The names come from clients, so the hashes must be unpredictable.
#[derive(Debug, Clone)]
struct Index {
    positions: HashTable<usize>,
    hasher: RandomState,
}

impl<'a, T> Members<'a, T> {
    pub fn with_capacity(members: usize) -> Self {
        Self {
            slots: Vec::with_capacity(members),
            length: 0,
            index: None,
        }
    }

    pub fn len(&self) -> usize {
        self.length
    }

    pub fn iter(&self) -> impl Iterator<Item = &Member<'a, T>> {
        self.slots.iter().flatten()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Member<'a, T>> {
        self.slots.iter_mut().flatten()
    }

    pub fn into_members(self) -> impl Iterator<Item = Member<'a, T>> {
        self.slots.into_iter().flatten()
    }

    pub fn get(&self, name: &str) -> Option<&T> {
        let position = self.position(name)?;
        self.slots[position].as_ref().map(|member| &member.value)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        let position = self.position(name)?;
        let member = self.slots[position].as_mut();
        member.map(|member| &mut member.value)
    }

    /// Puts a member in the place of the one with its name, or last.
    pub fn insert(&mut self, name: Cow<'a, str>, value: T) {
        if let Some(there) = self.get_mut(&name) {
            *there = value;
            return;
        }
        self.slots.push(Some(Member { name, value }));
        self.length += 1;
        match &mut self.index {
            Some(index) => index.add(&self.slots, self.slots.len() - 1),
            None if self.slots.len() > MOST_WITHOUT_INDEX => self.build_index(),
            None => {}
        }
    }

    pub fn remove(&mut self, name: &str) -> Option<T> {
        let position = self.position(name)?;
        if let Some(index) = &mut self.index {
            let hash = index.hasher.hash_one(name);
            let entry = index.positions.find_entry(hash, |there| *there == position);
            if let Ok(entry) = entry {
                entry.remove();
            }
        }
        let member = self.slots[position].take()?;
        self.length -= 1;
        if self.slots.len() - self.length > self.length + MOST_WITHOUT_INDEX {
            self.slots.retain(Option::is_some);
            self.build_index();
        }
        Some(member.value)
    }

    fn position(&self, name: &str) -> Option<usize> {
        match &self.index {
            Some(index) => {
                let hash = index.hasher.hash_one(name);
                let is_here = |position: &usize| name_at(&self.slots, *position) == Some(name);
                index.positions.find(hash, is_here).copied()
            }
            None => {
                (0..self.slots.len()).find(|position| name_at(&self.slots, *position) == Some(name))
            }
        }
    }

    fn build_index(&mut self) {
        self.index = None;
        if self.slots.len() > MOST_WITHOUT_INDEX {
            let mut index = Box::new(Index {
                positions: HashTable::with_capacity(self.slots.capacity()),
                hasher: RandomState::new(),
            });
            for position in 0..self.slots.len() {
                index.add(&self.slots, position);
            }
            self.index = Some(index);
        }
    }
}

impl<T: Clone> Clone for Members<'_, T> {
    /// Without the gaps: a copy costs no more than what is in it.
    fn clone(&self) -> Self {
        let mut slots = Vec::with_capacity(self.length);
        slots.extend(self.iter().cloned().map(Some));
        let mut copy = Self {
            slots,
            length: self.length,
            index: None,
        };
        copy.build_index();
        copy
    }
}

impl Index {
    /// Indexes the member at a position, whose name is not in it yet.
    fn add<T>(&mut self, members: &[Option<Member<T>>], position: usize) {
        let hasher = &self.hasher;
        let hash = |position: &usize| hasher.hash_one(name_at(members, *position).unwrap_or(""));
        if members[position].is_some() {
            self.positions
                .insert_unique(hash(&position), position, hash);
        }
    }
}

fn name_at<'m, T>(members: &'m [Option<Member<T>>], position: usize) -> Option<&'m str> {
    members[position].as_ref().map(|member| &*member.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn members_keep_their_place_and_new_ones_come_last(
            changes in prop::collection::vec((0..3_u8, 0..60_u8), 0..500),
        ) {
            let mut expected: Vec<(String, String)> = Vec::new();
            let mut members = Members::with_capacity(0);
            for (number, (kind, name)) in changes.into_iter().enumerate() {
                let name = name.to_string();
                let place = expected.iter().position(|(there, _)| *there == name);
                if kind > 0 {
                    match place {
                        Some(place) => expected[place].1 = number.to_string(),
                        None => expected.push((name.clone(), number.to_string())),
                    }
                    members.insert(Cow::Owned(name), number.to_string());
                } else {
                    let removed = place.map(|place| expected.remove(place).1);
                    let found = members.remove(&name);
                    prop_assert_eq!(found, removed);
                }
                prop_assert_eq!(members.len(), expected.len());
                prop_assert!(members.slots.len() <= 2 * expected.len() + MOST_WITHOUT_INDEX + 1);
            }
            for members in [members.clone(), members] {
                let found: Vec<_> = members.iter().map(|member| member.name.to_string()).collect();
                let names: Vec<_> = expected.iter().map(|(name, _)| name.clone()).collect();
                prop_assert_eq!(found, names);
                for (name, text) in &expected {
                    prop_assert_eq!(members.get(name), Some(text));
                }
            }
        }
    }
}
