//! The connections of one thread, and the line of those that can take a request.

use std::collections::VecDeque;

use super::connection::Connection;

/// Connections by token: their place, and a generation that tells them from those that had it before.
#[derive(Debug, Default)]
pub(super) struct Pool {
    places: Vec<Option<Connection>>,
    vacant: Vec<usize>,
    generation: u32,
    /// First come, first used: requests are spread over all connections.
    line: VecDeque<u64>,
    /// Those that are open, or being opened.
    pub(super) open: usize,
    pub(super) connecting: usize,
}

impl Pool {
    /// Adds a connection.
    pub(super) fn insert(&mut self, mut connection: Connection) -> u64 {
        self.generation = self.generation.wrapping_add(1);
        connection.generation = self.generation;
        self.open += 1;
        self.connecting += usize::from(connection.is_connecting);
        let place = self.vacant.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        let token = u64::from(connection.generation) << 32 | place as u64;
        self.places[place] = Some(connection);
        token
    }

    pub(super) fn get(&mut self, token: u64) -> Option<&mut Connection> {
        let connection = self.places.get_mut(token as u32 as usize)?.as_mut()?;
        (connection.generation == (token >> 32) as u32).then_some(connection)
    }

    /// Takes a connection out.
    pub(super) fn remove(&mut self, token: u64) -> Option<Connection> {
        let is_connecting = self.get(token)?.is_connecting;
        self.open -= 1;
        self.connecting -= usize::from(is_connecting);
        let place = token as u32 as usize;
        self.vacant.push(place);
        self.places[place].take()
    }

    /// A connection that was being opened is open.
    pub(super) fn connected(&mut self, token: u64) {
        if let Some(connection) = self.get(token) {
            connection.is_connecting = false;
            self.connecting -= 1;
        }
    }

    /// Has a connection stand in line, once.
    pub(super) fn line_up(&mut self, token: u64) {
        if let Some(connection) = self.get(token)
            && !connection.is_in_line
        {
            connection.is_in_line = true;
            self.line.push_back(token);
        }
    }

    /// The one that has stood in line longest and can take a request.
    pub(super) fn next_in_line(&mut self) -> Option<u64> {
        while let Some(token) = self.line.pop_front() {
            if let Some(connection) = self.get(token) {
                connection.is_in_line = false;
                if connection.has_room() {
                    return Some(token);
                }
            }
        }
        None
    }

    /// All of them.
    pub(super) fn tokens(&self) -> impl Iterator<Item = (u64, &Connection)> {
        self.places.iter().enumerate().filter_map(|(place, connection)| {
            let connection = connection.as_ref()?;
            Some((u64::from(connection.generation) << 32 | place as u64, connection))
        })
    }
}
