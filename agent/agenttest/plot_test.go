package agenttest_test

func plotFleets([]fleet) []byte { return nil }
