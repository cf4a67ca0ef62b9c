package trace_test

import (
	"testing"

	"drawbridge/internal/testnet"
)

func TestMain(m *testing.M) { testnet.Main(m) }
