"""The command line for operators. It needs the extra ``cli``, and nothing else imports it."""
