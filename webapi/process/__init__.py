"""The API as a process: gunicorn, its worker, sockets, and who is let in. What is answered is not known here."""
