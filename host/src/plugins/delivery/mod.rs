//! How releases come to serve on this node: what is loaded and stands ready (`standing`), what candidates are shown (`shadow`),
//! and the node as the application sees it (`node`). Knows nothing of storage or of other nodes.

pub mod differences;
pub mod node;
pub mod shadow;
pub mod standing;
