//! A list in which an item is inserted or removed anywhere at the same small cost.

use std::slice;

/// How many items a part of a divided list has at most.
const MOST_ITEMS: usize = 64;
/// How many parts are below one part at most.
const MOST_PARTS: usize = 32;

/// It is one piece of memory until something is inserted or removed before the end of a long list; then a
/// tree of small parts. Empty parts are removed, others are not joined: no path gets longer than the
/// insertions have made it.
#[derive(Debug, Clone)]
pub struct Sequence<T>(Part<T>);

#[derive(Debug, Clone)]
enum Part<T> {
    Items(Vec<T>),
    Parts { length: usize, below: Vec<Part<T>> },
}

impl<T> From<Vec<T>> for Sequence<T> {
    fn from(items: Vec<T>) -> Self {
        Self(Part::Items(items))
    }
}

impl<T> Sequence<T> {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn get_mut(&mut self, mut position: usize) -> Option<&mut T> {
        let mut part = &mut self.0;
        loop {
            match part {
                Part::Items(items) => return items.get_mut(position),
                Part::Parts { below, .. } => {
                    let index = part_with(below, &mut position);
                    part = below.get_mut(index)?;
                }
            }
        }
    }

    /// Inserts before the item at `position`, or at the end if that is the length.
    ///
    /// # Panics
    /// If the position is behind the end.
    pub fn insert(&mut self, position: usize, item: T) {
        assert!(position <= self.len(), "a position in the list");
        match &mut self.0 {
            Part::Items(items) if position == items.len() => return items.push(item),
            Part::Items(items) if items.len() < MOST_ITEMS => {
                return items.insert(position, item);
            }
            Part::Items(_) => self.divide(),
            Part::Parts { .. } => {}
        }
        if let Some(right) = self.0.insert(position, item) {
            let left = std::mem::replace(&mut self.0, Part::Items(Vec::new()));
            self.0 = Part::above(vec![left, right]);
        }
    }

    /// Removes the item at `position`, if there is one.
    pub fn remove(&mut self, position: usize) -> Option<T> {
        match &mut self.0 {
            Part::Items(items) if position + 1 == items.len() => return items.pop(),
            Part::Items(items) if position >= items.len() => return None,
            Part::Items(items) if items.len() > MOST_ITEMS => self.divide(),
            _ => {}
        }
        let removed = self.0.remove(position);
        if self.len() == 0 {
            self.0 = Part::Items(Vec::new());
        }
        removed
    }

    /// How many items are moved when the list is divided: all of them, once.
    pub fn undivided(&self) -> usize {
        match &self.0 {
            Part::Items(items) => items.len(),
            Part::Parts { .. } => 0,
        }
    }

    pub fn iter(&self) -> Iter<'_, T> {
        Iter {
            above: Vec::new(),
            here: slice::from_ref(&self.0).iter(),
            items: [].iter(),
        }
    }

    pub fn try_for_each_mut<E>(
        &mut self,
        each: &mut impl FnMut(&mut T) -> Result<(), E>,
    ) -> Result<(), E> {
        self.0.try_for_each_mut(each)
    }

    fn divide(&mut self) {
        if let Part::Items(items) = &mut self.0 {
            // Not full, so that the first insertions do not split every part.
            let parts = pieces(std::mem::take(items), MOST_ITEMS * 3 / 4);
            let mut parts: Vec<_> = parts.into_iter().map(Part::Items).collect();
            while parts.len() > 1 {
                let above = pieces(parts, MOST_PARTS * 3 / 4);
                parts = above.into_iter().map(Part::above).collect();
            }
            self.0 = parts.pop().unwrap_or(Part::Items(Vec::new()));
        }
    }
}

fn pieces<T>(all: Vec<T>, size: usize) -> Vec<Vec<T>> {
    let mut pieces = Vec::with_capacity(all.len().div_ceil(size));
    let mut rest = all.into_iter();
    while rest.len() > 0 {
        pieces.push(rest.by_ref().take(size).collect());
    }
    pieces
}

/// Which part has the item at a position; the position becomes the one in that part. The one behind
/// the end is in the last part.
fn part_with<T>(parts: &[Part<T>], position: &mut usize) -> usize {
    let last = parts.len().saturating_sub(1);
    for (index, part) in parts[..last].iter().enumerate() {
        let length = part.len();
        if *position < length {
            return index;
        }
        *position -= length;
    }
    last
}

impl<T> Part<T> {
    fn above(below: Vec<Self>) -> Self {
        Self::Parts {
            length: below.iter().map(Self::len).sum(),
            below,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Items(items) => items.len(),
            Self::Parts { length, .. } => *length,
        }
    }

    /// The right half, if the part got too large.
    fn insert(&mut self, mut position: usize, item: T) -> Option<Self> {
        match self {
            Self::Items(items) => {
                items.insert(position, item);
                let half = items.len() / 2;
                (items.len() > MOST_ITEMS).then(|| Self::Items(items.split_off(half)))
            }
            Self::Parts { length, below } => {
                *length += 1;
                let index = part_with(below, &mut position);
                let right = below[index].insert(position, item)?;
                below.insert(index + 1, right);
                let half = below.len() / 2;
                (below.len() > MOST_PARTS).then(|| {
                    let right = Self::above(below.split_off(half));
                    *length -= right.len();
                    right
                })
            }
        }
    }

    fn remove(&mut self, mut position: usize) -> Option<T> {
        match self {
            Self::Items(items) => (position < items.len()).then(|| items.remove(position)),
            Self::Parts { length, below } => {
                let index = part_with(below, &mut position);
                let part = below.get_mut(index)?;
                let removed = part.remove(position)?;
                *length -= 1;
                if part.len() == 0 {
                    below.remove(index);
                }
                Some(removed)
            }
        }
    }

    fn try_for_each_mut<E>(
        &mut self,
        each: &mut impl FnMut(&mut T) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Items(items) => items.iter_mut().try_for_each(each),
            Self::Parts { below, .. } => below
                .iter_mut()
                .try_for_each(|part| part.try_for_each_mut(each)),
        }
    }
}

/// The items in their order.
pub struct Iter<'a, T> {
    above: Vec<slice::Iter<'a, Part<T>>>,
    here: slice::Iter<'a, Part<T>>,
    items: slice::Iter<'a, T>,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(item) = self.items.next() {
                return Some(item);
            }
            match self.here.next() {
                Some(Part::Items(items)) => self.items = items.iter(),
                Some(Part::Parts { below, .. }) => {
                    self.above
                        .push(std::mem::replace(&mut self.here, below.iter()));
                }
                None => self.here = self.above.pop()?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How long the longest path is, and that no part is too large or empty.
    fn check(part: &Part<u32>) -> usize {
        match part {
            Part::Items(items) => {
                assert!((1..=MOST_ITEMS).contains(&items.len()));
                1
            }
            Part::Parts { length, below } => {
                assert!((1..=MOST_PARTS).contains(&below.len()));
                assert_eq!(*length, below.iter().map(Part::len).sum::<usize>());
                1 + below.iter().map(check).max().unwrap_or(0)
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_a_list(
            length in 0_u32..3000,
            // Around one place most of the time, so that parts are split and get empty.
            changes in prop::collection::vec((any::<bool>(), 0..4000_usize, 0..200_usize), 0..30),
        ) {
            let mut list: Vec<u32> = (0..length).collect();
            let mut sequence = Sequence::from(list.clone());
            for (insert, position, times) in changes {
                for number in 0..times {
                    let position = position.min(list.len());
                    if insert {
                        let item = u32::try_from(number).unwrap();
                        list.insert(position, item);
                        sequence.insert(position, item);
                    } else {
                        let expected = (position < list.len()).then(|| list.remove(position));
                        prop_assert_eq!(sequence.remove(position), expected);
                    }
                }
                prop_assert_eq!(sequence.len(), list.len());
                let found = sequence.get_mut(position).map(|item| *item);
                prop_assert_eq!(found, list.get(position).copied());
            }
            prop_assert!(sequence.iter().eq(&list));
            if let Part::Parts { .. } = &sequence.0 {
                prop_assert!(check(&sequence.0) <= 5);
            }
            let mut each = Vec::new();
            let _ = sequence.try_for_each_mut(&mut |item| { each.push(*item); Ok::<_, ()>(()) });
            prop_assert_eq!(each, list);
        }
    }
}
