"""Small language models in a worker: what is asked, how it is put to a model, and the two engines that write; a
modality's room, which imports no modality."""
