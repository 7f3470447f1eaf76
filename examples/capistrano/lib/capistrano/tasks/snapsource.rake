require "json"
require "open3"

# The running instances that said, once their Source was mounted, that they are app
# servers of this stage. snapsource says on stderr why there are none.
def snapsource_hosts
  hosts, status = Open3.capture2("snapsource", "hosts", "--role", "app", "--stage", fetch(:stage).to_s, "--output", "json")
  abort "snapsource hosts failed" unless status.success?
  JSON.parse(hosts)["hosts"]
end

namespace :snapsource do
  desc "Snapshot the primary server's Source: what is launched from now on starts with it"
  task :snapshot do
    on primary(:app) do
      execute :sudo, :snapsource, :snapshot, "--wait", "--source", fetch(:snapsource) # as sudoers has it
    end
  end

  # An instance that was launched after the servers were listed, and looked for newer
  # snapshots before ours began, has the release before. It is in the list now.
  desc "Do the same again for servers that have come meanwhile"
  task :catch_up do
    late = snapsource_hosts.map { |host| host["address"] } - roles(:all).map(&:hostname)
    next if late.empty?

    puts "These servers have come meanwhile, so the same again for them: #{late.join(', ')}"
    same = { "HOSTS" => late.join(","), "BRANCH" => fetch(:current_revision, ENV["BRANCH"]) }
    system(same, "cap", *ARGV) || abort("The servers #{late.join(', ')} may have another release")
  end
end

# Both are part of deploy:rollback too: what is launched then starts with the old release.
after "deploy:published", "snapsource:snapshot"
after "deploy:finished", "snapsource:catch_up"
