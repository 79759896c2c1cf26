"""What listening needs beside the model that writes: sound out of a file, and where in it somebody speaks."""
