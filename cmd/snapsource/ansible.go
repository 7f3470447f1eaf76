package main

import (
	"slices"
	"strings"

	"snapsource/agent/inventory"
)

// outputAnsible is the --output for Ansible.
const outputAnsible = "ansible"

// ansibleGroup is a group of an inventory.
type ansibleGroup struct {
	Hosts []string `json:"hosts"`
}

// ansibleInventory returns what an inventory script prints for --list: the groups by name, and
// in _meta the variables of each host, so that Ansible does not call it for each. (Ansible
// developer guide, "Developing dynamic inventory")
func ansibleInventory(servers []inventory.Server) map[string]any {
	groups := map[string]any{}
	variables := map[string]map[string]any{}
	add := func(group, host string) {
		g, _ := groups[group].(ansibleGroup)
		if !slices.Contains(g.Hosts, host) {
			groups[group] = ansibleGroup{append(g.Hosts, host)}
		}
	}
	for _, s := range servers {
		variables[s.ID] = ansibleVariables(servers, s.ID)
		for _, role := range s.Roles {
			add(groupName("role", role), s.ID)
		}
		for _, stage := range s.Stages {
			add(groupName("stage", stage), s.ID)
		}
		if s.Project != "" {
			add(groupName("project", s.Project), s.ID)
		}
	}
	groups["_meta"] = map[string]any{"hostvars": variables}
	return groups
}

// ansibleVariables returns what an inventory script prints for --host: the variables of a host;
// none if there is no such host.
func ansibleVariables(servers []inventory.Server, id string) map[string]any {
	for _, s := range servers {
		if s.ID == id {
			return map[string]any{
				"ansible_host": s.Address, "snapsource_name": s.Name, "snapsource_roles": s.Roles, "snapsource_stages": s.Stages,
				"snapsource_project": s.Project, "snapsource_addresses": s.Addresses,
			}
		}
	}
	return map[string]any{}
}

// groupName returns the name of a group: Ansible accepts letters, digits and underscores.
func groupName(kind, value string) string {
	return kind + "_" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, value)
}
