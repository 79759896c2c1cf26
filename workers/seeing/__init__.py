"""What seeing needs beside the pictures: CLIP's two towers as graphs, its pixels and its texts; it is no modality."""
