package doctor

// Checks are all checks, in the order in which findings of one severity are told.
func Checks() []Check {
	return []Check{
		spanningTree,
		misplacedAddress,
		portRoute,
		bridgeFilter,
	}
}
