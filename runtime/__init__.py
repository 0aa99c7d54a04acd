PROJECT = "stableanimator-deploy"
