//! Connections to the API, counted. Each costs a descriptor, and without descriptors neither the ledger nor the block store
//! of this node can open a file: whoever only connects must not be able to stop it.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep},
};

/// Connections at a time; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 512;
/// A connection that moves no byte for this long is closed. Whoever asks for an acknowledgement hears nothing until all of the
/// content is here.
const IDLE_MAX: Duration = Duration::from_secs(660);

/// A listener that has so many connections and no more.
pub(crate) struct Bounded {
    listener: TcpListener,
    turns: Arc<Semaphore>,
    idle_max: Duration,
}

impl Bounded {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self::with(listener, CONNECTIONS_MAX, IDLE_MAX)
    }

    fn with(listener: TcpListener, connections_max: usize, idle_max: Duration) -> Self {
        Self { listener, turns: Arc::new(Semaphore::new(connections_max)), idle_max }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Nobody closes the semaphore.
        let turn = self.turns.clone().acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let idle = Box::pin(tokio::time::sleep(self.idle_max));
        (Connection { stream, idle, idle_max: self.idle_max, _turn: turn }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection, with its turn.
pub(crate) struct Connection {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    idle_max: Duration,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn moved(&mut self) {
        let end = Instant::now() + self.idle_max;
        self.idle.as_mut().reset(end);
    }

    /// What a read or a write that has to wait comes to.
    fn wait<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.idle.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn written(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(written) => {
                self.moved();
                Poll::Ready(written)
            }
            Poll::Pending => self.wait(cx),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(read) => {
                self.moved();
                Poll::Ready(read)
            }
            Poll::Pending => self.wait(cx),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn listen(connections_max: usize, idle_max: Duration) -> Bounded {
        Bounded::with(TcpListener::bind("127.0.0.1:0").await.unwrap(), connections_max, idle_max)
    }

    #[tokio::test]
    async fn no_more_connections_are_taken_than_there_are_turns() {
        let mut bounded = listen(1, IDLE_MAX).await;
        let address = bounded.local_addr().unwrap();
        let (_one, _two) = (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
        let (first, _) = bounded.accept().await;
        assert!(futures::FutureExt::now_or_never(bounded.accept()).is_none());
        drop(first);
        bounded.accept().await;
    }

    #[tokio::test]
    async fn whoever_connects_and_says_nothing_is_let_go() {
        let mut bounded = listen(1, Duration::from_millis(50)).await;
        let mut client = TcpStream::connect(bounded.local_addr().unwrap()).await.unwrap();
        let (mut connection, _) = bounded.accept().await;
        client.write_all(b"G").await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), b'G');
        assert_eq!(connection.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
