package model

func (CreateBridge) apply(s *Snapshot) error { panic("being written") }
func (CreateTap) apply(s *Snapshot) error { panic("being written") }
func (CreateVeth) apply(s *Snapshot) error { panic("being written") }
func (DeleteLink) apply(s *Snapshot) error { panic("being written") }
func (MoveLink) apply(s *Snapshot) error { panic("being written") }
func (SetUp) apply(s *Snapshot) error { panic("being written") }
func (SetMaster) apply(s *Snapshot) error { panic("being written") }
func (SetMTU) apply(s *Snapshot) error { panic("being written") }
func (AddAddresses) apply(s *Snapshot) error { panic("being written") }
func (DeleteAddresses) apply(s *Snapshot) error { panic("being written") }
func (SettleAddresses) apply(s *Snapshot) error { panic("being written") }
func (AddRoutes) apply(s *Snapshot) error { panic("being written") }
func (DeleteRoutes) apply(s *Snapshot) error { panic("being written") }
func (MoveRoutes) apply(s *Snapshot) error { panic("being written") }
func (CopyNeighbours) apply(s *Snapshot) error { panic("being written") }
func (WaitUp) apply(s *Snapshot) error { panic("being written") }
func (SetSetting) apply(s *Snapshot) error { panic("being written") }
func (StartMachine) apply(s *Snapshot) error { panic("being written") }
func (StopMachine) apply(s *Snapshot) error { panic("being written") }
func (PlugNIC) apply(s *Snapshot) error { panic("being written") }
func (UnplugNIC) apply(s *Snapshot) error { panic("being written") }
func (ConfigureNIC) apply(s *Snapshot) error { panic("being written") }

