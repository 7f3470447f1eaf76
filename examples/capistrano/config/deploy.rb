lock "~> 3.17"

set :application, "codepen"
set :repo_url, "git@github.com:example/codepen.git"
set :branch, ENV.fetch("BRANCH", "main")

# The Source, so that releases, shared files and Capistrano's copy of the repository
# are all on the volume, and in its snapshots.
set :deploy_to, "/home/deploy/codepen"
set :keep_releases, 5
set :snapsource, "codepen-app" # the Source's name

# Instances come and go, each with a host key of its own: the key of a new one is
# accepted and remembered, a changed one is refused.
set :ssh_options, verify_host_key: :accept_new
