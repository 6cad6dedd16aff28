"""The account database: who has an account, under which names, on which mailstore."""
