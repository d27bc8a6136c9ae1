//! WebRTC signaling over WebSocket.
