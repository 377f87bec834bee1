"""Real parts that tests are done with: a wandb server, a browser, studies that are made up."""
