"""The command `pennyroute`: thin drivers over flow and the embedded servers; no rule lives here."""
