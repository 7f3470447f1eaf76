# The oldest server is the primary: its Source is what the snapshot is taken of.
snapsource_hosts.each_with_index do |host, n|
  server host["address"], user: "deploy", roles: host["roles"], primary: n.zero?
end
