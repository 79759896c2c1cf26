"""How a page is read, whichever networks find and recognise its lines; no queue and no upload is known here."""
